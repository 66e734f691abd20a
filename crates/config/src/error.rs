//! What is wrong with a configuration, told so that its author can mend it.

use crate::yaml::Position;
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Severity {
    /// It works, but not quite as written.
    Warning,
    /// What was said here has no effect.
    Error,
}

/// One finding: `SOURCE:LINE:COLUMN: KEY: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    pub severity: Severity,
    /// The file, or another name of the source.
    pub source: String,
    /// Counted from 1; 0 where the whole source is meant.
    pub line: u64,
    pub column: u64,
    /// Dotted key; empty where none is meant.
    pub key: String,
    pub message: String,
}

impl Problem {
    /// A finding about a key at a position.
    pub fn new(severity: Severity, source: &str, at: Position, key: &str, message: String) -> Problem {
        Problem {
            severity,
            source: source.to_owned(),
            line: at.line,
            column: at.column,
            key: key.to_owned(),
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)?;
        if self.line > 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        let word = if self.severity == Severity::Error { "" } else { "warning: " };
        formatter.write_str(": ")?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        write!(formatter, "{word}{}", self.message)
    }
}
