//! The Docker Engine API, one file a resource. <https://docs.docker.com/reference/api/engine/>
//!
//! What is not there answers 501 with a sentence; see `docs/system-docker-api.md`.

pub mod attach;
pub mod changes;
mod commit;
mod containers;
pub mod create;
mod endpoints;
mod error;
mod exec;
mod files;
mod fsck;
mod healthcheck;
pub mod image_name;
pub mod image_transfer;
mod images;
mod limits;
pub mod links;
mod listener;
mod log_stream;
pub mod moment;
pub mod mounts;
mod networks;
mod processes;
pub mod query;
mod request_body;
mod state;
mod stats;
pub mod stream;
mod system;
mod version;
mod view;
mod volumes;
mod wait;

use self::error::ApiError;
use crate::shared::Shared;
use anyhow::Result;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::Uri;
use axum::routing::{delete, get, post};
use corral_engine::error::EngineError;
use std::sync::Arc;
use version::negotiate;

/// Serves the API on a unix socket, for root only.
pub(crate) async fn serve(shared: Arc<Shared>, path: &str) -> Result<()> {
    listener::serve(router().with_state(shared), path).await
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
        .route("/swarm/leave", post(system::no_swarm))
        .route("/system/df", get(system::disk_use))
        .route("/auth", post(images::authenticate))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/exec/{id}/resize", post(exec::resize))
}

fn of_containers() -> Router<Arc<Shared>> {
    Router::new()
        .route("/commit", post(commit::commit))
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
        .route("/containers/{id}/wait", post(wait::wait))
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
        .route("/images/create", post(image_transfer::create).layer(DefaultBodyLimit::disable()))
        .route("/images/load", post(image_transfer::load).layer(DefaultBodyLimit::disable()))
        .route("/images/get", get(image_transfer::save))
        .route("/images/prune", post(images::prune))
        .route("/images/fsck", post(fsck::check))
        .route("/distribution/{*path}", get(images::distribution))
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

async fn unsupported(uri: Uri, request: Request) -> ApiError {
    let path = uri.path();
    ApiError::from(EngineError::NotImplemented(format!(
        "{} {path} is not supported by the system engine of this version; \
         use the user's docker for it",
        request.method()
    )))
}
