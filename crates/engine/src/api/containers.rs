//! `/containers`: each handler is one call to PID 1.

use super::{State, convert};
use crate::client::unexpected;
use crate::daemon::{Shared, blocking};
use crate::error::EngineError;
use crate::protocol::{Event, Reply, Request};
use crate::spec::Snapshot;
use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bollard_stubs::models::ContainerCreateBody;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

type Parameters = Query<HashMap<String, String>>;
type Ids = Path<HashMap<String, String>>;

/// The container that a path names.
pub(super) fn id_of(ids: &Ids) -> String {
    ids.get("id").cloned().unwrap_or_default()
}

fn is_true(parameters: &Parameters, name: &str) -> bool {
    parameters.get(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

pub(super) async fn list(state: State, parameters: Parameters) -> Result<Json<Vec<Value>>, EngineError> {
    let shared = state.0;
    let mut containers = blocking(move || shared.client.list()).await?;
    let filters = parse_filters(parameters.get("filters"))?;
    let all = is_true(&parameters, "all") || filters.contains_key("status");
    containers.retain(|container| {
        all || convert::docker_state(container) == "running" || container.state == "restarting"
    });
    let mut kept = Vec::new();
    for container in containers {
        if matches(&container, &filters)? {
            kept.push(container);
        }
    }
    kept.sort_by_key(|container| std::cmp::Reverse(container.created));
    Ok(Json(kept.iter().map(convert::summary).collect()))
}

/// `{"name": ["a"]}`, or the older `{"name": {"a": true}}`.
fn parse_filters(text: Option<&String>) -> Result<HashMap<String, Vec<String>>, EngineError> {
    let Some(text) = text else { return Ok(HashMap::new()) };
    let value: HashMap<String, Value> =
        serde_json::from_str(text).map_err(|error| EngineError::BadRequest(format!("filters: {error}")))?;
    let list = |value: Value| match value {
        Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Object(items) => items.keys().cloned().collect(),
        _ => Vec::new(),
    };
    Ok(value.into_iter().map(|(key, value)| (key, list(value))).collect())
}

fn matches(container: &Snapshot, filters: &HashMap<String, Vec<String>>) -> Result<bool, EngineError> {
    for (key, wanted) in filters {
        let found = match key.as_str() {
            "name" => wanted.iter().any(|name| container.spec.name.contains(name.trim_start_matches('/'))),
            "id" => wanted.iter().any(|id| container.id.starts_with(id)),
            "status" => wanted.iter().any(|state| state == convert::docker_state(container)),
            "ancestor" => wanted.iter().any(|image| container.spec.image.starts_with(image)),
            "exited" => wanted.iter().any(|code| *code == container.exit_code.to_string()),
            "label" => wanted.iter().all(|label| match label.split_once('=') {
                Some((key, value)) => container.spec.labels.get(key).is_some_and(|found| found == value),
                None => container.spec.labels.contains_key(label),
            }),
            other => return Err(EngineError::NotImplemented(format!("filter {other} is not supported"))),
        };
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) async fn inspect(state: State, ids: Ids) -> Result<Json<Value>, EngineError> {
    let (shared, id) = (state.0, id_of(&ids));
    let container = blocking(move || shared.client.inspect(&id)).await?;
    Ok(Json(convert::inspect(&container)))
}

pub(super) async fn create(
    state: State,
    parameters: Parameters,
    Json(body): Json<ContainerCreateBody>,
) -> Result<Response, EngineError> {
    let network = body.host_config.as_ref().and_then(|host| host.network_mode.clone()).unwrap_or_default();
    if !["", "default", "host", "none"].contains(&network.as_str()) {
        return Err(EngineError::NotImplemented(format!(
            "network {network}: this version has host and none"
        )));
    }
    let name = parameters.get("name").cloned().unwrap_or_default();
    let mut spec = convert::spec(name, body);
    spec.image = crate::image::Embedded::load(&spec.image)?.reference;
    let shared = state.0;
    let reply = blocking(move || shared.client.call(Request::Create { spec: Box::new(spec) })).await?;
    match reply {
        Reply::Created { id } => {
            Ok((StatusCode::CREATED, Json(json!({"Id": id, "Warnings": []}))).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

/// A call without a body, answered by 204.
async fn act(shared: Arc<Shared>, request: Request) -> Result<StatusCode, EngineError> {
    blocking(move || shared.client.call(request)).await.map(|_| StatusCode::NO_CONTENT)
}

pub(super) async fn start(state: State, ids: Ids) -> Result<StatusCode, EngineError> {
    act(state.0, Request::Start { container: id_of(&ids) }).await
}

pub(super) async fn stop(state: State, ids: Ids, parameters: Parameters) -> Result<StatusCode, EngineError> {
    let timeout = parameters.get("t").and_then(|text| text.parse().ok());
    act(state.0, Request::Stop { container: id_of(&ids), timeout }).await
}

pub(super) async fn restart(
    state: State,
    ids: Ids,
    parameters: Parameters,
) -> Result<StatusCode, EngineError> {
    let timeout = parameters.get("t").and_then(|text| text.parse().ok());
    act(state.0, Request::Restart { container: id_of(&ids), timeout }).await
}

pub(super) async fn kill(state: State, ids: Ids, parameters: Parameters) -> Result<StatusCode, EngineError> {
    let signal = parameters.get("signal").cloned().unwrap_or_else(|| "SIGKILL".to_owned());
    act(state.0, Request::Kill { container: id_of(&ids), signal }).await
}

pub(super) async fn remove(
    state: State,
    ids: Ids,
    parameters: Parameters,
) -> Result<StatusCode, EngineError> {
    let force = is_true(&parameters, "force");
    act(state.0, Request::Remove { container: id_of(&ids), force }).await
}

/// Answers when the container has ended, with its exit code.
pub(super) async fn wait(state: State, ids: Ids) -> Result<Json<Value>, EngineError> {
    let (shared, id) = (state.0, id_of(&ids));
    // Subscribe first: an end between the look and the wait is then in the queue.
    let mut events = shared.events.subscribe();
    let looking = Arc::clone(&shared);
    let container = blocking(move || looking.client.inspect(&id)).await?;
    if ["exited", "restarting"].contains(&container.state.as_str()) {
        return Ok(Json(json!({"StatusCode": container.exit_code})));
    }
    loop {
        match events.recv().await {
            Ok(Event::Container { id, action, exit_code: Some(code), .. })
                if id == container.id && action == "die" =>
            {
                return Ok(Json(json!({"StatusCode": code})));
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(EngineError::Failed("the engine ends".to_owned())),
        }
    }
}
