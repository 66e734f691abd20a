//! `/containers`: lists, and the requests for one container.

use super::error::ApiError;
use super::query::{Filters, Parameters, Parts, id_of, is_true, parse, text};
use super::state::State;
use super::{create, image_name, limits, moment, processes, view, wait};
use crate::blocking::blocking;
use crate::network::ports;
use crate::removal::remove_container;
use crate::shared::Shared;
use crate::volume;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use bollard_stubs::models::HostConfig;
use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::paths;
use corral_engine::protocol::Request;
use corral_engine::signal::{NotASignal, Signal};
use corral_engine::spec::{self, Grace, HealthState, Snapshot};
use corral_engine::time;
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name",
    "network", "publish", "since", "status", "volume",
];

pub(super) async fn list(
    state: State,
    parameters: Parameters,
) -> Result<Json<Vec<Value>>, ApiError> {
    let shared = &state.0;
    let filters = Filters::parse(&parameters, &FILTERS)?;
    let limit: usize =
        text(&parameters, "limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let all = is_true(&parameters, "all")
        || filters.has("status")
        || filters.has("exited")
        || limit < usize::MAX;
    let mut containers = shared.table.all();
    containers.retain(|container| {
        (all || !container.status.is_down()) && matches(shared, container, &filters)
    });
    containers.sort_by_key(|container| std::cmp::Reverse(container.status.created));
    containers.truncate(limit);
    let has_size = is_true(&parameters, "size");
    let view = |container: &Arc<Snapshot>| {
        let mut row = view::summary(container, &shared.networks);
        if has_size {
            add_sizes(&mut row, container);
        }
        row
    };
    Ok(Json(containers.iter().map(view).collect()))
}

fn matches(shared: &Shared, container: &Snapshot, filters: &Filters) -> bool {
    let (spec, status) = (&container.spec, &container.status);
    let created =
        |name: &str| shared.find(name).map(|other| other.status.created).unwrap_or_default();
    filters.any("name", |name| {
        spec.name.contains(name.trim_start_matches(['/', '^']).trim_end_matches('$'))
    }) && filters.any("id", |id| container.id.starts_with(id))
        && filters.any("status", |word| word == status.word())
        && filters.any("health", |word| word == status.health.map_or("none", HealthState::word))
        && filters.any("ancestor", |image| {
            let id = &spec.image_id;
            image_name::is_same(&spec.image, image)
                || spec.image.starts_with(image)
                || id.starts_with(image)
                || id.trim_start_matches("sha256:").starts_with(image)
        })
        && filters.any("exited", |code| {
            status.state == spec::State::Exited && code == status.exit_code.to_string()
        })
        && filters.any("network", |name| {
            spec.endpoints
                .iter()
                .any(|endpoint| endpoint.network == name || endpoint.network_id.starts_with(name))
        })
        && filters.any("volume", |name| {
            spec.binds
                .iter()
                .any(|bind| bind.volume.as_deref() == Some(name) || bind.target == name)
        })
        && filters.any("publish", |port| {
            spec.ports.iter().any(|own| is_port(port, own.host_port, &own.protocol))
        })
        && filters.any("expose", |port| {
            spec.ports.iter().any(|own| is_port(port, own.container_port, &own.protocol))
        })
        && filters.any("before", |name| status.created < created(name))
        && filters.any("since", |name| status.created > created(name))
        && filters.any("is-task", |word| word == "false")
        && filters.labels(|key| spec.labels.get(key).map(String::as_str))
}

fn is_port(text: &str, port: u16, protocol: &str) -> bool {
    let (number, wanted) = text.split_once('/').unwrap_or((text, protocol));
    number == port.to_string() && wanted == protocol
}

pub(super) async fn inspect(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let container = state.find(id_of(&parts))?;
    let mut value = view::inspect(&container, &state.0);
    if is_true(&parameters, "size") {
        add_sizes(&mut value, &container);
    }
    Ok(Json(value))
}

/// Bytes that the container has written, and those of its image.
fn add_sizes(value: &mut Value, container: &Snapshot) {
    value["SizeRw"] = json!(written(container));
    value["SizeRootFs"] =
        json!(lookup::find(&container.spec.image_id).map_or(0, |image| image.size));
}

fn written(container: &Snapshot) -> u64 {
    volume::size(&paths::overlay(&container.id).join("diff"))
}

/// A call without a body, answered by 204.
async fn act(shared: &Arc<Shared>, request: Request) -> Result<StatusCode, EngineError> {
    shared.call(request).await.map(|_| StatusCode::NO_CONTENT)
}

pub(super) async fn start(state: State, parts: Parts) -> Result<StatusCode, ApiError> {
    let container = state.find(id_of(&parts))?;
    start_container(&state.0, &container).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn start_container(shared: &Arc<Shared>, container: &Snapshot) -> Result<(), EngineError> {
    ports::check(&shared.table.all(), &container.id, &container.spec)?;
    shared.call(Request::Start { container: container.id.clone() }).await?;
    shared.records.ended_by_hand(&container.id, false);
    // A service of the plan got its networks on the way. One that has ended may be gone already.
    let Ok(container) = shared.find(&container.id) else { return Ok(()) };
    if !container.spec.endpoints.is_empty() {
        // A client that got the reply to its start may use a published port at once.
        if let Err(error) = shared.networks.apply(&shared.table).await {
            if !container.spec.ports.is_empty() {
                return Err(error);
            }
            eprintln!("network of {}: {error}", container.spec.name);
        }
    }
    Ok(())
}

/// `t` seconds; a negative time is as long as it takes.
fn grace_of(parameters: &Parameters) -> Option<Grace> {
    text(parameters, "t").parse().ok().map(Grace::from_seconds)
}

pub(super) async fn stop(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let container = state.find(id_of(&parts))?;
    let grace = grace_of(&parameters);
    state.records.ended_by_hand(&container.id, true);
    let done = act(&state.0, Request::Stop { container: container.id.clone(), grace }).await;
    state.bus.container("stop", &container, time::now(), None);
    Ok(done?)
}

pub(super) async fn restart(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let container = state.find(id_of(&parts))?;
    let grace = grace_of(&parameters);
    let done = act(&state.0, Request::Restart { container: container.id.clone(), grace }).await?;
    state.bus.container("restart", &container, time::now(), None);
    Ok(done)
}

pub(super) async fn kill(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let container = state.find(id_of(&parts))?;
    let signal = match text(&parameters, "signal") {
        "" => Signal::KILL,
        name => {
            name.parse().map_err(|error: NotASignal| EngineError::BadRequest(error.to_string()))?
        }
    };
    if signal == Signal::KILL {
        state.records.ended_by_hand(&container.id, true);
    }
    let (_, events) = state.bus.listen();
    let done = act(&state.0, Request::Kill { container: container.id.clone(), signal }).await?;
    if signal == Signal::KILL {
        // Clients look at the container next: it is then no longer running, as in Docker.
        wait::until_down(&state.0, &container.id, events).await;
    }
    Ok(done)
}

pub(super) async fn pause(state: State, parts: Parts) -> Result<StatusCode, ApiError> {
    Ok(act(&state.0, Request::Pause { container: id_of(&parts).to_owned(), pause: true }).await?)
}

pub(super) async fn unpause(state: State, parts: Parts) -> Result<StatusCode, ApiError> {
    Ok(act(&state.0, Request::Pause { container: id_of(&parts).to_owned(), pause: false }).await?)
}

pub(super) async fn rename(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let name = text(&parameters, "name").trim_start_matches('/').to_owned();
    create::check_name(&name)?;
    Ok(act(&state.0, Request::Rename { container: id_of(&parts).to_owned(), name }).await?)
}

pub(super) async fn update(
    state: State,
    parts: Parts,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let container = state.find(id_of(&parts))?;
    let requested: HostConfig = parse(&body)?;
    let limits = limits::resources(&requested, &container.spec.limits);
    let limits = Some(limits).filter(|limits| *limits != container.spec.limits);
    let restart = limits::restart_policy(&requested)?;
    state.call(Request::Update { container: container.id.clone(), limits, restart }).await?;
    Ok(Json(json!({"Warnings": null})))
}

pub(super) async fn remove(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let container = state.find(id_of(&parts))?;
    let (force, with_volumes) = (is_true(&parameters, "force"), is_true(&parameters, "v"));
    remove_container(&state.0, &container, force, with_volumes).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(state: State, parameters: Parameters) -> Result<Json<Value>, ApiError> {
    let filters = Filters::parse(&parameters, &["label", "label!", "until"])?;
    let until = filters.first("until").map(moment::parse).transpose()?;
    let mut removed = Vec::new();
    let mut space = 0;
    for container in state.table.all() {
        let is_old = until.is_none_or(|until| container.status.created < until);
        let fits = filters.labels(|key| container.spec.labels.get(key).map(String::as_str));
        if !container.status.is_down() || !is_old || !fits || container.status.planned {
            continue;
        }
        let size = written(&container);
        if remove_container(&state.0, &container, false, false).await.is_ok() {
            removed.push(container.id.clone());
            space += size;
        }
    }
    Ok(Json(json!({"ContainersDeleted": removed, "SpaceReclaimed": space})))
}

pub(super) async fn top(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let container = state.find(id_of(&parts))?;
    if !container.status.is_up() {
        return Err(EngineError::Conflict(format!(
            "container {} is not running",
            container.spec.name
        ))
        .into());
    }
    let wanted = text(&parameters, "ps_args").to_owned();
    let table = blocking(move || processes::list(&container, &wanted)).await?;
    Ok(Json(table))
}
