//! The Docker Engine API, one file a resource. <https://docs.docker.com/reference/api/engine/>
//!
//! What is not there answers 501 with a sentence; see `docs/system-docker-api.md`.

mod attach;
mod containers;
mod create;
mod exec;
mod files;
mod images;
mod log_stream;
mod mounts;
mod networks;
mod processes;
mod query;
mod request_body;
mod stats;
mod stream;
mod system;
mod view;
mod volumes;

use crate::daemon::shared::Shared;
use crate::error::EngineError;
use anyhow::{Context, Result};
use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What this engine speaks, and the oldest that it understands.
pub const API_VERSION: &str = "1.45";
pub const MIN_API_VERSION: &str = "1.24";
/// Connections at a time; more wait their turn in the kernel.
const MOST_CONNECTIONS: u64 = 4096;
/// Where descriptors are few, one in so many is for a connection: the others are for streams and files.
const PART_OF_DESCRIPTORS: u64 = 4;
/// A client that does not say what it wants is not waited for.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Nor for so long where others wait for its place.
const IDLE_TIME: Duration = Duration::from_secs(1);

pub(crate) type State = axum::extract::State<Arc<Shared>>;

/// Serves the API on a unix socket, for root only.
pub(crate) async fn serve(shared: Arc<Shared>, path: &str) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listening on {path}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let app = router().with_state(shared);
    let slots = Arc::new(Semaphore::new(most_connections()));
    let crowded = Arc::new(Notify::new());
    let mut is_failing = false;
    loop {
        let slot = next_slot(&slots, &crowded).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                is_failing = false;
                let (app, crowded) = (app.clone(), Arc::clone(&crowded));
                tokio::spawn(async move {
                    let _slot = slot;
                    serve_client(stream, app, &crowded).await;
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    eprintln!("accepting a connection: {error}");
                }
                // Mostly a want of descriptors: clients give some back.
                crowded.notify_waiters();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// As many connections as leave descriptors for the streams of containers.
fn most_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((descriptors / PART_OF_DESCRIPTORS).clamp(1, MOST_CONNECTIONS)).unwrap_or(1)
}

/// A place for one more connection. Where there is none, those that ask nothing make room.
async fn next_slot(slots: &Arc<Semaphore>, crowded: &Notify) -> Option<OwnedSemaphorePermit> {
    loop {
        match tokio::time::timeout(IDLE_TIME, Arc::clone(slots).acquire_owned()).await {
            Ok(slot) => return slot.ok(),
            Err(_) => crowded.notify_waiters(),
        }
    }
}

async fn serve_client(stream: UnixStream, app: Router, crowded: &Notify) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let service = TowerToHyperService::new(app);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let others_wait = async {
        tokio::time::sleep(IDLE_TIME).await;
        crowded.notified().await;
    };
    // A client that hangs up in the middle is its own business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = others_wait => connection.as_mut().graceful_shutdown(),
    }
    // One that is in the middle of an answer gets it.
    let _ = connection.await;
}

fn router() -> Router<Arc<Shared>> {
    let routes = Router::new()
        .merge(of_system())
        .merge(of_containers())
        .merge(of_images())
        .merge(of_networks_and_volumes());
    Router::new()
        .nest("/{version}", routes.clone())
        .merge(routes)
        .fallback(unsupported)
        .method_not_allowed_fallback(unsupported)
        .layer(DefaultBodyLimit::max(4 << 20))
        .layer(axum::middleware::from_fn(negotiate))
        .layer(axum::middleware::map_request(request_body::drained))
}

fn of_system() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_ping", get(system::ping).head(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(system::events))
        .route("/system/df", get(system::disk_use))
        .route("/auth", post(images::authenticate))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/exec/{id}/resize", post(exec::resize))
}

fn of_containers() -> Router<Arc<Shared>> {
    Router::new()
        .route("/containers/json", get(containers::list))
        .route("/containers/create", post(create::create))
        .route("/containers/prune", post(containers::prune))
        .route("/containers/{id}", delete(containers::remove))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/start", post(containers::start))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/restart", post(containers::restart))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/containers/{id}/pause", post(containers::pause))
        .route("/containers/{id}/unpause", post(containers::unpause))
        .route("/containers/{id}/rename", post(containers::rename))
        .route("/containers/{id}/update", post(containers::update))
        .route("/containers/{id}/wait", post(containers::wait))
        .route("/containers/{id}/top", get(containers::top))
        .route("/containers/{id}/stats", get(stats::stats))
        .route("/containers/{id}/logs", get(log_stream::logs))
        .route("/containers/{id}/attach", post(attach::attach))
        .route("/containers/{id}/attach/ws", get(attach::websocket))
        .route("/containers/{id}/resize", post(attach::resize))
        .route("/containers/{id}/exec", post(exec::create))
        .route("/containers/{id}/export", get(files::export))
        .route("/containers/{id}/changes", get(files::changes))
        .route(
            "/containers/{id}/archive",
            get(files::get).head(files::head).put(files::put).layer(DefaultBodyLimit::disable()),
        )
}

fn of_images() -> Router<Arc<Shared>> {
    Router::new()
        .route("/images/json", get(images::list))
        .route("/images/create", post(images::create).layer(DefaultBodyLimit::disable()))
        .route("/images/load", post(images::load).layer(DefaultBodyLimit::disable()))
        .route("/images/get", get(images::save))
        .route("/images/prune", post(images::prune))
        .route("/images/fsck", post(images::check))
        .route("/images/{*path}", get(images::get).post(images::post).delete(images::remove))
}

fn of_networks_and_volumes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::make))
        .route("/networks/prune", post(networks::prune))
        .route("/networks/{id}", get(networks::inspect).delete(networks::remove))
        .route("/networks/{id}/connect", post(networks::connect))
        .route("/networks/{id}/disconnect", post(networks::disconnect))
        .route("/volumes", get(volumes::list))
        .route("/volumes/create", post(volumes::create))
        .route("/volumes/prune", post(volumes::prune))
        .route("/volumes/{id}", get(volumes::inspect).delete(volumes::remove))
}

/// Refuses clients that are too new or too old, and says in every answer what this engine speaks: clients negotiate so.
async fn negotiate(request: Request, next: Next) -> Response {
    let refusal = version_of(request.uri().path()).and_then(refuse);
    let mut response = match refusal {
        Some(error) => error.into_response(),
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

fn refuse(asked: (u32, u32)) -> Option<EngineError> {
    let known = |text: &str| version_of(&format!("/v{text}/")).unwrap_or_default();
    let (major, minor) = asked;
    if asked > known(API_VERSION) {
        return Some(EngineError::BadRequest(format!(
            "client version {major}.{minor} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    (asked < known(MIN_API_VERSION)).then(|| {
        EngineError::BadRequest(format!(
            "client version {major}.{minor} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade your client to a newer version"
        ))
    })
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
