//! What callers of the engine branch on.

use serde::{Deserialize, Serialize};

/// Why a request was not done; the API maps each to a status code of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum EngineError {
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("{0}")]
    Conflict(String),
    /// The container is in that state already.
    #[error("{0}")]
    NotModified(String),
    /// The container could not be started, for a reason that is its own.
    #[error("{0}")]
    StartFailed(String),
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

/// One that was passed on as another kind of error is itself again.
impl From<anyhow::Error> for EngineError {
    fn from(error: anyhow::Error) -> EngineError {
        match error.downcast::<EngineError>() {
            Ok(error) => error,
            Err(error) => EngineError::Failed(format!("{error:#}")),
        }
    }
}
