//! An error as a response of HTTP.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use corral_engine::error::EngineError;
use serde_json::json;

/// What a handler returns where it could not do what was requested.
#[derive(Debug)]
pub(super) struct ApiError(EngineError);

impl<E: Into<EngineError>> From<E> for ApiError {
    fn from(error: E) -> ApiError {
        ApiError(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ApiError(error) = self;
        let status = match &error {
            EngineError::NoSuchContainer(_)
            | EngineError::NoSuchImage(_)
            | EngineError::NotFound(_) => StatusCode::NOT_FOUND,
            EngineError::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            EngineError::Forbidden(_) => StatusCode::FORBIDDEN,
            EngineError::Conflict(_) => StatusCode::CONFLICT,
            EngineError::NotModified(_) => return StatusCode::NOT_MODIFIED.into_response(),
            EngineError::BadRequest(_) | EngineError::StartFailed(_) => StatusCode::BAD_REQUEST,
            EngineError::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            EngineError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "message": error.to_string() }))).into_response()
    }
}
