//! What is wrong in a compose file.

/// What is wrong in a compose file: `FILE:LINE:COLUMN: what`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ComposeError {
    pub file: String,
    pub line: u64,
    pub column: u64,
    pub message: String,
}
