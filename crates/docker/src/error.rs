//! Why an engine did not do what was requested.

use super::engine::Engine;
use hyper::StatusCode;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many characters of an answer that is no JSON an error shows.
const SHOWN: usize = 300;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine's own message.
    #[error("{message} (HTTP status {status})")]
    Refused { status: u16, message: String },
    /// The same, of work that failed after the head of the answer.
    #[error("{0}")]
    Failed(String),
    /// No engine listens on its socket.
    #[error("{engine} does not answer at {}: {cause}; {}", .socket.display(), .engine.advice())]
    Absent { engine: Engine, socket: PathBuf, cause: io::Error },
    #[error("this user has no access to {engine}: {}: {cause}; try sudo", .socket.display())]
    Denied { engine: Engine, socket: PathBuf, cause: io::Error },
    #[error("{engine} has not answered within {} s: {request}", .time.as_secs())]
    Late { engine: Engine, request: String, time: Duration },
    /// The connection ended before the answer did.
    #[error("{engine} did not answer completely: {request}")]
    Cut { engine: Engine, request: String, source: hyper::Error },
    #[error("{engine}: {request}: {cause}")]
    Malformed { engine: Engine, request: String, cause: String },
    #[error("making a client of {engine}")]
    Client { engine: Engine, source: io::Error },
}

impl Error {
    /// From an error of connecting to a socket.
    pub(super) fn connecting(engine: Engine, socket: &Path, cause: io::Error) -> Error {
        let socket = socket.to_owned();
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Error::Denied { engine, socket, cause },
            _ => Error::Absent { engine, socket, cause },
        }
    }

    /// From an answer with an error status: `{"message": "…"}`, or text of a server that is no
    /// engine.
    pub(super) fn refused(status: StatusCode, body: &[u8]) -> Error {
        #[derive(Deserialize)]
        struct Body {
            message: String,
        }
        let message = match serde_json::from_slice::<Body>(body) {
            Ok(body) => body.message,
            Err(_) => String::from_utf8_lossy(body).trim().chars().take(SHOWN).collect(),
        };
        let reason = || status.canonical_reason().unwrap_or("no reason was given").to_owned();
        Error::Refused {
            status: status.as_u16(),
            message: if message.is_empty() { reason() } else { message },
        }
    }

    /// None if the engine reports that there is no such object.
    pub(super) fn absence<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            result => result.map(Some),
        }
    }
}
