//! The versions of the API that this engine speaks, and how a client learns them.

use super::error::ApiError;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use corral_engine::error::EngineError;

/// What this engine speaks, and the oldest that it understands.
pub(super) const API_VERSION: &str = "1.45";
pub(super) const MIN_API_VERSION: &str = "1.24";

/// Refuses clients that are too new or too old. Every answer has the version that this engine
/// speaks: clients negotiate by it.
pub(super) async fn negotiate(request: Request, next: Next) -> Response {
    let refusal = version_of(request.uri().path()).and_then(refuse);
    let mut response = match refusal {
        Some(error) => ApiError::from(error).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert("Api-Version", HeaderValue::from_static(API_VERSION));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert("Server", HeaderValue::from_static("Corral"));
    response
}

/// `/v1.45/info` → (1, 45).
fn version_of(path: &str) -> Option<(u32, u32)> {
    let (major, minor) = path.strip_prefix("/v")?.split('/').next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn refuse(requested: (u32, u32)) -> Option<EngineError> {
    let known = |text: &str| version_of(&format!("/v{text}/")).unwrap_or_default();
    let (major, minor) = requested;
    if requested > known(API_VERSION) {
        return Some(EngineError::BadRequest(format!(
            "client version {major}.{minor} is too new. \
             Maximum supported API version is {API_VERSION}"
        )));
    }
    (requested < known(MIN_API_VERSION)).then(|| {
        EngineError::BadRequest(format!(
            "client version {major}.{minor} is too old. \
             Minimum supported API version is {MIN_API_VERSION}, \
             please upgrade your client to a newer version"
        ))
    })
}
