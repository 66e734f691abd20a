//! The Docker Engine API, one file a resource. <https://docs.docker.com/reference/api/engine/>
//!
//! What is not there answers 501 with a sentence; see `docs/system-docker-api.md`.

mod containers;
mod convert;
pub mod exec;
mod images;
mod log_stream;
mod system;

use crate::daemon::Shared;
use crate::error::EngineError;
use anyhow::{Context, Result};
use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::net::UnixListener;

/// What this engine speaks, and the oldest that it understands.
pub const API_VERSION: &str = "1.45";
pub const MIN_API_VERSION: &str = "1.24";

pub(crate) type State = axum::extract::State<Arc<Shared>>;

/// Serves the API on a unix socket, for root only.
pub async fn serve(shared: Arc<Shared>, path: &str) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listening on {path}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let app = router().with_state(shared);
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("accepting a connection: {error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // A client that hangs up in the middle is its own business.
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

fn router() -> Router<Arc<Shared>> {
    let versioned = routes();
    Router::new()
        .nest("/{version}", versioned.clone())
        .merge(versioned)
        .fallback(unsupported)
        .layer(axum::middleware::map_response(stamp))
}

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_ping", get(system::ping).head(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(system::events))
        .route("/containers/json", get(containers::list))
        .route("/containers/create", post(containers::create))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/start", post(containers::start))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/restart", post(containers::restart))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/containers/{id}/wait", post(containers::wait))
        .route("/containers/{id}/logs", get(log_stream::logs))
        .route("/containers/{id}", delete(containers::remove))
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/images/json", get(images::list))
        .route("/images/{name}/json", get(images::inspect))
        .route("/images/{scope}/{name}/json", get(images::inspect_scoped))
}

/// Clients negotiate by these headers.
async fn stamp(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("Api-Version", HeaderValue::from_static(API_VERSION));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert("Server", HeaderValue::from_static("Corral"));
    response
}

async fn unsupported(uri: Uri, request: Request) -> EngineError {
    let path = uri.path();
    EngineError::NotImplemented(format!(
        "{} {path} is not supported by the system engine of this version; use the user's docker for it",
        request.method()
    ))
}

impl IntoResponse for EngineError {
    fn into_response(self) -> Response {
        let status = match &self {
            EngineError::NoSuchContainer(_) | EngineError::NoSuchImage(_) => StatusCode::NOT_FOUND,
            EngineError::Conflict(_) => StatusCode::CONFLICT,
            EngineError::NotModified(_) => return StatusCode::NOT_MODIFIED.into_response(),
            EngineError::BadRequest(_) => StatusCode::BAD_REQUEST,
            EngineError::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            EngineError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "message": self.to_string() }))).into_response()
    }
}
