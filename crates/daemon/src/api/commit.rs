//! `POST /commit`: an image of what a container wrote over its own image.

use super::changes::{apply_changes, variable};
use super::error::ApiError;
use super::image_name::image_name;
use super::query::{Pairs, Parameters, all, parse, text};
use super::state::State;
use crate::blocking::blocking;
use crate::image::archive::Commit;
use crate::shared::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::paths;
use corral_engine::protocol::Request;
use corral_engine::spec::Snapshot;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn commit(
    state: State,
    parameters: Parameters,
    pairs: Pairs,
    body: Bytes,
) -> Result<Response, ApiError> {
    let shared = state.0;
    let container = shared.find(text(&parameters, "container"))?;
    let name = image_name(text(&parameters, "repo"), text(&parameters, "tag"));
    let requested: Value = parse::<Option<Value>>(&body)?.unwrap_or_default();
    let changes = all(&pairs.0, "changes").join("\n");
    let (author, comment) = (text(&parameters, "author"), text(&parameters, "comment"));
    let commit = Commit {
        upper: paths::overlay(&container.id).join("diff"),
        base: lookup::find(match container.spec.image_id.as_str() {
            "" => &container.spec.image,
            id => id,
        })?,
        config: Value::Null,
        created_by: container.spec.command.iter().flatten().cloned().collect::<Vec<_>>().join(" "),
        author: author.to_owned(),
        comment: comment.to_owned(),
    };
    let config = config(&shared, &container, &commit.base.raw["config"], &requested);
    let commit = Commit { config: apply_changes(config, &changes)?, ..commit };
    // By default, as docker commit does: no file changes while it is read.
    let pause = !["0", "false", "False"].contains(&text(&parameters, "pause"))
        && container.status.is_up()
        && !container.status.paused;
    let id = packed(&shared, &container, pause, commit, name).await?;
    let attributes = json!({"comment": comment, "name": container.spec.name, "imageID": id});
    shared.bus.emit("container", "commit", &container.id, attributes);
    Ok((StatusCode::CREATED, Json(json!({"Id": id}))).into_response())
}

async fn packed(
    shared: &Arc<Shared>,
    container: &Snapshot,
    pause: bool,
    commit: Commit,
    name: Option<String>,
) -> Result<String, EngineError> {
    // What belongs to no image yet is not cleaned up meanwhile.
    let _busy = shared.store.lock(&container.id).await;
    let freeze = |pause| shared.call(Request::Pause { container: container.id.clone(), pause });
    if pause {
        freeze(true).await?;
    }
    let working = Arc::clone(shared);
    let packed = blocking(move || Ok(working.store.pack_commit(&commit)?)).await;
    if pause && let Err(error) = freeze(false).await {
        // It may have been removed meanwhile: the image is complete all the same.
        eprintln!("continuing {}: {error}", container.spec.name);
    }
    let (packed, working) = (packed?, Arc::clone(shared));
    blocking(move || working.store.commit_packed(packed, name.as_deref())).await
}

/// The configuration of the image: that of the container's own, then what the client set for the
/// container, then what it requests now.
fn config(shared: &Shared, container: &Snapshot, of_image: &Value, requested: &Value) -> Value {
    let record = shared.records.get(&container.id).unwrap_or_default();
    merged(of_image, &record.config, requested)
}

/// A later one replaces single variables, labels, ports and volumes, and all of the rest.
fn merged(of_image: &Value, of_container: &Value, requested: &Value) -> Value {
    let mut config = if of_image.is_object() { of_image.clone() } else { json!({}) };
    for layer in [of_container, requested] {
        let has_entrypoint = layer["Entrypoint"].as_array().is_some_and(|words| !words.is_empty());
        if has_entrypoint {
            config["Cmd"] = Value::Null;
        }
        for key in KEYS {
            let value = &layer[key];
            match value {
                Value::Null => {}
                Value::String(text) if text.is_empty() => {}
                Value::Array(items) if items.is_empty() => {}
                Value::Array(items) if key == "Env" => add_variables(&mut config, items),
                Value::Object(items) if config[key].is_object() => {
                    if let Some(known) = config[key].as_object_mut() {
                        known.extend(items.clone());
                    }
                }
                value => config[key] = value.clone(),
            }
        }
    }
    config
}

/// What of a container's configuration is part of an image.
/// <https://github.com/opencontainers/image-spec/blob/main/config.md>
const KEYS: [&str; 10] = [
    "Entrypoint",
    "Cmd",
    "Env",
    "User",
    "WorkingDir",
    "StopSignal",
    "Labels",
    "ExposedPorts",
    "Volumes",
    "Healthcheck",
];

fn add_variables(config: &mut Value, items: &[Value]) {
    let mut all = config["Env"].as_array().cloned().unwrap_or_default();
    for item in items {
        all.retain(|known| variable(known) != variable(item));
        all.push(item.clone());
    }
    config["Env"] = Value::Array(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_is_over_its_image() {
        let of_image =
            json!({"Cmd": ["sh"], "Env": ["A=1", "B=2"], "Labels": {"x": "1"}, "User": "u"});
        let of_container = json!({
            "Cmd": ["top"], "Env": ["B=3"], "Labels": {"y": "2"}, "User": "", "Hostname": "h",
        });
        let found = merged(&of_image, &of_container, &Value::Null);
        let expected = json!({
            "Cmd": ["top"], "Env": ["A=1", "B=3"], "Labels": {"x": "1", "y": "2"}, "User": "u",
        });
        assert_eq!(found, expected);
        let found = merged(&of_image, &json!({"Entrypoint": ["/e"]}), &json!({"User": "v"}));
        assert_eq!((&found["Cmd"], &found["User"]), (&Value::Null, &json!("v")));
    }
}
