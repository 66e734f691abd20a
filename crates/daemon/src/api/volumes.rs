//! `/volumes`.

use super::error::ApiError;
use super::query::{Filters, Parameters, Parts, id_of, is_true, parse};
use super::state::State;
use crate::blocking::blocking;
use crate::shared::Shared;
use crate::volume::{self, ANONYMOUS, Volume};
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bollard_stubs::models::VolumeCreateRequest;
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use serde_json::{Value, json};
use std::sync::Arc;

fn view(volume: &Volume) -> Value {
    json!({
        "Name": volume.name, "Driver": "local", "Mountpoint": volume.data(),
        "CreatedAt": volume.created, "Labels": volume.labels, "Scope": "local", "Options": null,
    })
}

fn is_used(shared: &Shared, name: &str) -> bool {
    let containers = shared.table.all();
    containers.iter().any(|container| {
        container.spec.binds.iter().any(|bind| bind.volume.as_deref() == Some(name))
    })
}

pub(super) async fn list(state: State, parameters: Parameters) -> Result<Json<Value>, ApiError> {
    let filters = Filters::parse(&parameters, &["dangling", "driver", "label", "name"])?;
    let all = blocking(|| Ok(volume::all())).await?;
    let fits = |volume: &&Volume| {
        filters.any("name", |name| volume.name.contains(name))
            && filters.any("driver", |driver| driver == "local")
            && filters.any("dangling", |word| {
                ["1", "true"].contains(&word) != is_used(&state.0, &volume.name)
            })
            && filters.labels(|key| volume.labels.get(key).map(String::as_str))
    };
    Ok(Json(
        json!({"Volumes": all.iter().filter(fits).map(view).collect::<Vec<_>>(), "Warnings": null}),
    ))
}

pub(super) async fn inspect(parts: Parts) -> Result<Json<Value>, ApiError> {
    Ok(Json(view(&volume::find(id_of(&parts))?)))
}

pub(super) async fn create(state: State, body: Bytes) -> Result<Response, ApiError> {
    let body: VolumeCreateRequest = parse(&body)?;
    let driver = body.driver.unwrap_or_default();
    if !["", "local"].contains(&driver.as_str()) {
        return Err(EngineError::NotImplemented(format!(
            "volume driver {driver} is not supported: use local"
        ))
        .into());
    }
    if body.driver_opts.is_some_and(|options| !options.is_empty()) {
        return Err(EngineError::NotImplemented(
            "volume options are not supported: \
             add the mount to `mounts` in the cloud-config and bind it"
                .to_owned(),
        )
        .into());
    }
    let mut labels: std::collections::BTreeMap<String, String> =
        body.labels.unwrap_or_default().into_iter().collect();
    let name = body.name.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        labels.insert(ANONYMOUS.to_owned(), String::new());
        new_id()
    });
    let volume = blocking(move || volume::create(&name, labels)).await?;
    state.bus.emit("volume", "create", &volume.name, json!({"driver": "local"}));
    Ok((StatusCode::CREATED, Json(view(&volume))).into_response())
}

pub(super) async fn remove(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let name = id_of(&parts).to_owned();
    if is_used(&state.0, &name) {
        return Err(EngineError::Conflict(format!("remove {name}: volume is in use")).into());
    }
    let force = is_true(&parameters, "force");
    let gone = name.clone();
    match blocking(move || volume::remove(&gone)).await {
        Err(EngineError::NotFound(_)) if force => return Ok(StatusCode::NO_CONTENT),
        other => other?,
    }
    state.bus.emit("volume", "destroy", &name, json!({"driver": "local"}));
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(state: State, parameters: Parameters) -> Result<Json<Value>, ApiError> {
    let filters = Filters::parse(&parameters, &["all", "label", "label!"])?;
    let all = filters.has("all") && filters.any("all", |word| ["1", "true"].contains(&word));
    let shared = Arc::clone(&state.0);
    let (removed, bytes) = blocking(move || {
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for volume in volume::all() {
            let fits = filters.labels(|key| volume.labels.get(key).map(String::as_str));
            if is_used(&shared, &volume.name)
                || !fits
                || !(all || volume.labels.contains_key(ANONYMOUS))
            {
                continue;
            }
            bytes += volume::size(&volume.data());
            volume::remove(&volume.name)?;
            removed.push(volume.name);
        }
        Ok((removed, bytes))
    })
    .await?;
    Ok(Json(json!({"VolumesDeleted": removed, "SpaceReclaimed": bytes})))
}
