//! Problems without a line in a file.

use corral_config::Position;
use corral_config::error::{Problem, Severity};

/// An error of a source.
pub(super) fn error(source: &str, message: &str) -> Problem {
    Problem::new(Severity::Error, source, Position::default(), "", message.to_owned())
}
