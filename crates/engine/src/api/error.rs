//! An error as an answer of HTTP.

use crate::error::EngineError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

impl IntoResponse for EngineError {
    fn into_response(self) -> Response {
        let status = match &self {
            EngineError::NoSuchContainer(_) | EngineError::NoSuchImage(_) | EngineError::NotFound(_) => {
                StatusCode::NOT_FOUND
            }
            EngineError::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            EngineError::Forbidden(_) => StatusCode::FORBIDDEN,
            EngineError::Conflict(_) => StatusCode::CONFLICT,
            EngineError::NotModified(_) => return StatusCode::NOT_MODIFIED.into_response(),
            EngineError::BadRequest(_) | EngineError::StartFailed(_) => StatusCode::BAD_REQUEST,
            EngineError::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            EngineError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "message": self.to_string() }))).into_response()
    }
}
