//! What behaves differently under Corral: the row of a report.

use corral_config::Problem;
use serde::Serialize;

/// A setting or a file that has another effect under Corral.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// The file, as a path of the machine.
    pub(super) source: String,
    /// Counted from 1; 0 where the complete file is meant.
    pub(super) line: u64,
    /// Dotted; empty where none is meant.
    pub(super) key: String,
    pub(super) what: String,
}

impl Difference {
    /// About a file, or a key in it.
    pub(super) fn of(source: &str, key: &str, what: String) -> Difference {
        Difference { source: source.to_owned(), line: 0, key: key.to_owned(), what }
    }

    /// A finding about the configuration.
    pub(super) fn of_problem(problem: &Problem) -> Difference {
        Difference {
            source: problem.source.clone(),
            line: problem.line,
            key: problem.key.clone(),
            what: problem.message.clone(),
        }
    }
}
