//! `/containers`: lists, and the requests for one container.

use super::error::ApiError;
use super::query::{Filters, Parameters, Parts, id_of, is_true, parse, text};
use super::state::State;
use super::stream::streamed;
use super::{create, image_name, moment, processes, view};
use crate::blocking::blocking;
use crate::bus::Event;
use crate::network::ports;
use crate::removal::remove_container;
use crate::shared::Shared;
use crate::volume;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use bollard_stubs::models::HostConfig;
use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::protocol::Request;
use corral_engine::signal::{NotASignal, Signal};
use corral_engine::spec::{Grace, HealthState, Snapshot};
use corral_engine::time;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The longest that `kill` waits for the end of the container.
const KILL_TIME: Duration = Duration::from_secs(10);

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
        (all || ["running", "paused", "restarting"].contains(&container.status.word()))
            && matches(shared, container, &filters)
    });
    containers.sort_by_key(|container| std::cmp::Reverse(container.status.created));
    containers.truncate(limit);
    let has_size = is_true(&parameters, "size");
    let view = |container: &Arc<Snapshot>| {
        let mut row = view::summary(container, &shared.networks);
        if has_size {
            row["SizeRw"] =
                json!(volume::size(&corral_engine::paths::overlay(&container.id).join("diff")));
            row["SizeRootFs"] =
                json!(lookup::find(&container.spec.image_id).map_or(0, |image| image.size));
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
        && filters
            .any("exited", |code| status.word() == "exited" && code == status.exit_code.to_string())
        && filters.any("network", |name| {
            spec.endpoints
                .iter()
                .any(|place| place.network == name || place.network_id.starts_with(name))
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
        value["SizeRw"] =
            json!(volume::size(&corral_engine::paths::overlay(&container.id).join("diff")));
        value["SizeRootFs"] =
            json!(lookup::find(&container.spec.image_id).map_or(0, |image| image.size));
    }
    Ok(Json(value))
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
        wait_for_end(&state.0, &container.id, events).await;
    }
    Ok(done)
}

/// Waits until a container that was killed is down, or gone; not for ever.
async fn wait_for_end(shared: &Shared, id: &str, mut events: Receiver<Arc<Event>>) {
    let down = async {
        while shared.table.get(id).is_some_and(|now| now.status.is_up()) {
            if let Err(RecvError::Closed) = events.recv().await {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(KILL_TIME, down).await;
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
    let limits = create::limits(&requested, &container.spec.limits);
    let limits = Some(limits).filter(|limits| *limits != container.spec.limits);
    let restart = create::restart(&requested)?;
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
        let is_down = ["created", "exited"].contains(&container.status.word());
        let is_old = until.is_none_or(|until| container.status.created < until);
        let fits = filters.labels(|key| container.spec.labels.get(key).map(String::as_str));
        if !is_down || !is_old || !fits || container.status.planned {
            continue;
        }
        let size = volume::size(&corral_engine::paths::overlay(&container.id).join("diff"));
        if remove_container(&state.0, &container, false, false).await.is_ok() {
            removed.push(container.id.clone());
            space += size;
        }
    }
    Ok(Json(json!({"ContainersDeleted": removed, "SpaceReclaimed": space})))
}

/// Answers when the container has ended (or is gone), with its exit code. The head of the answer
/// goes out at once, so that the client knows that the rest follows.
pub(super) async fn wait(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let shared = state.0;
    // Listen first: an end between the look and the wait is then in the queue.
    let (_, mut events) = shared.bus.listen();
    let container = shared.find(id_of(&parts))?;
    let until = match text(&parameters, "condition") {
        "" | "not-running" => "not-running",
        "next-exit" => "next-exit",
        "removed" => "removed",
        other => {
            return Err(EngineError::BadRequest(format!("invalid condition: {other:?}")).into());
        }
    };
    let answer = |code: i64| Bytes::from(json!({"StatusCode": code}).to_string());
    let is_down = ["created", "exited"].contains(&container.status.word());
    let wait = async move {
        if until == "not-running" && is_down {
            return Ok::<Bytes, Infallible>(answer(container.status.exit_code.into()));
        }
        let mut code = i64::from(container.status.exit_code);
        loop {
            match events.recv().await {
                Ok(event) if event.kind == "container" && event.id == container.id => {
                    let exit = event.attributes.get("exitCode").and_then(Value::as_str);
                    code = exit.and_then(|code| code.parse().ok()).unwrap_or(code);
                    let is_over =
                        event.action == "destroy" || (event.action == "die" && until != "removed");
                    if is_over {
                        return Ok(answer(code));
                    }
                }
                Ok(_) => {}
                // So many events occurred that its end may be among those that were missed.
                Err(RecvError::Lagged(_)) => match shared.table.get(&container.id) {
                    None => return Ok(answer(code)),
                    Some(now)
                        if now.status.finished > container.status.finished
                            && until != "removed" =>
                    {
                        return Ok(answer(now.status.exit_code.into()));
                    }
                    Some(_) => {}
                },
                Err(RecvError::Closed) => return Ok(answer(code)),
            }
        }
    };
    Ok(streamed("application/json", futures_util::stream::once(wait)))
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
