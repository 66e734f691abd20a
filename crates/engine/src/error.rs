//! What callers of the engine branch on.

use serde::{Deserialize, Serialize};

/// Why a request was not done; the API maps each to a status code of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum EngineError {
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    #[error("No such image: {0}")]
    NoSuchImage(String),
    #[error("{0}")]
    Conflict(String),
    /// The container is in that state already.
    #[error("{0}")]
    NotModified(String),
    /// A container or a process in one could not be started, for a reason that is its own.
    #[error("{0}")]
    StartFailed(Failure),
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Unauthorized(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NotImplemented(String),
    #[error("{0}")]
    Failed(String),
}

/// Why a program could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

/// What clients of Docker see as an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The program is there, and may not be executed.
    NotExecutable,
    /// There is no such program.
    NotFound,
    Other,
}

impl FailureKind {
    /// The codes of a shell.
    pub fn exit_code(self) -> i32 {
        match self {
            FailureKind::NotExecutable => 126,
            FailureKind::NotFound | FailureKind::Other => 127,
        }
    }
}

impl Failure {
    /// One that is not about the program.
    pub fn other(message: impl Into<String>) -> Failure {
        Failure { kind: FailureKind::Other, message: message.into() }
    }
}

/// One that was passed on as another kind of error is itself again.
impl From<anyhow::Error> for EngineError {
    fn from(error: anyhow::Error) -> EngineError {
        match error.downcast::<EngineError>() {
            Ok(error) => error,
            Err(error) => EngineError::Failed(format!("{error:#}")),
        }
    }
}
