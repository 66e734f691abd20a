//! `/images`: lists, one image, removal. What brings images or sends them is in `image_transfer`.

use super::error::ApiError;
use super::image_name::is_like;
use super::image_transfer::{account, push};
use super::moment::{self, seconds};
use super::query::{Filters, Parameters, is_true, parse, text};
use super::state::State;
use super::stream::written;
use crate::blocking::blocking;
use crate::image::gc::Which;
use crate::image::registry::Account;
use crate::image::{archive, distribution};
use crate::shared::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use corral_engine::error::EngineError;
use corral_engine::image::metadata::{Image, Tier};
use corral_engine::image::{layout, lookup};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

type Named = Path<HashMap<String, String>>;

pub(super) async fn list(
    state: State,
    parameters: Parameters,
) -> Result<Json<Vec<Value>>, ApiError> {
    let filters = Filters::parse(
        &parameters,
        &["dangling", "label", "before", "since", "reference", "until"],
    )?;
    let used = state.table.images();
    let images = blocking(|| Ok(lookup::load_all())).await?;
    let created = |name: &str| {
        images
            .iter()
            .find(|other| {
                other.references.iter().any(|known| known == name) || other.id.contains(name)
            })
            .map(|other| other.created.clone())
            .unwrap_or_default()
    };
    let dangling = |image: &Image| image.references.is_empty();
    let fits = |image: &&Image| {
        filters.any("dangling", |wanted| ["1", "true"].contains(&wanted) == dangling(image))
            && filters.any("reference", |pattern| {
                image.references.iter().any(|name| is_like(name, pattern))
            })
            && filters.any("before", |name| image.created < created(name))
            && filters.any("since", |name| image.created > created(name))
            && filters.labels(|key| image.config.labels.get(key).map(String::as_str))
    };
    let row = |image: &Image| {
        json!({
            "Id": image.id, "ParentId": "", "RepoTags": image.references,
            "RepoDigests": image.digests, "Created": seconds(&image.created), "Size": image.size,
            "SharedSize": -1, "Labels": image.config.labels,
            "Containers": used.iter().filter(|id| **id == image.id).count(),
        })
    };
    Ok(Json(images.iter().filter(fits).map(row).collect()))
}

/// `GET /images/{name}/json` and the other requests by GET for one image; names have slashes.
pub(super) async fn get(state: State, Path(parts): Named) -> Result<Response, ApiError> {
    let (name, what) = split(&parts)?;
    match what {
        "json" => Ok(inspect(&name)?),
        "history" => Ok(history(&name)?),
        "get" => Ok(written(move |writer| archive::save(&[name], writer))),
        _ => Err(unknown(&state.0, what).into()),
    }
}

/// `GET /distribution/{name}/json`.
pub(super) async fn distribution(
    state: State,
    Path(parts): Named,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let (name, what) = split(&parts)?;
    if what != "json" {
        return Err(unknown(&state.0, what).into());
    }
    let account = account(&headers);
    Ok(Json(distribution::inspect(&name, &state.settings(), account.as_ref()).await?))
}

fn unknown(_: &Shared, what: &str) -> EngineError {
    EngineError::NotImplemented(format!("the system engine does not support {what:?} of images"))
}

/// A name and the last part of a path.
fn split(parts: &HashMap<String, String>) -> Result<(String, &str), EngineError> {
    let path = parts.get("path").map(String::as_str).unwrap_or_default();
    let (name, what) = path
        .rsplit_once('/')
        .ok_or_else(|| EngineError::NotFound(format!("page not found: {path}")))?;
    Ok((name.to_owned(), what))
}

pub(super) async fn post(
    state: State,
    Path(parts): Named,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (name, what) = split(&parts)?;
    match what {
        "tag" => {
            let repository = text(&parameters, "repo");
            let new = match text(&parameters, "tag") {
                "" => repository.to_owned(),
                tag => format!("{repository}:{tag}"),
            };
            let (shared, from) = (Arc::clone(&state.0), name);
            let id = blocking(move || {
                shared.store.tag(&from, &new).and_then(|()| Ok(lookup::find(&from)?.id))
            })
            .await?;
            state.bus.emit("image", "tag", &id, json!({"name": repository}));
            Ok(StatusCode::CREATED.into_response())
        }
        "push" => Ok(push(state, name, &parameters, &headers).await?),
        _ => Err(unknown(&state.0, what).into()),
    }
}

fn inspect(name: &str) -> Result<Response, EngineError> {
    let image = lookup::find(name)?;
    let mut config = image.raw["config"].clone();
    if config.is_null() {
        config = json!({});
    }
    Ok(Json(json!({
        "Id": image.id, "RepoTags": image.references, "RepoDigests": image.digests,
        "Parent": image.raw["parent"].as_str().unwrap_or_default(), "Comment": comment(&image),
        "Created": image.created, "Config": config,
        "Author": image.raw["author"].as_str().unwrap_or_default(),
        "DockerVersion": "", "Architecture": image.raw["architecture"].as_str().unwrap_or("amd64"),
        "Os": image.raw["os"].as_str().unwrap_or("linux"), "Size": image.size,
        "RootFS": {"Type": "layers", "Layers": image.raw["rootfs"]["diff_ids"]},
        "GraphDriver": {"Name": "overlay2", "Data": {}},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }))
    .into_response())
}

/// The comment of the last step.
fn comment(image: &Image) -> &str {
    let last = image.raw["history"].as_array().and_then(|steps| steps.last());
    last.and_then(|step| step["comment"].as_str()).unwrap_or_default()
}

fn history(name: &str) -> Result<Response, EngineError> {
    let image = lookup::find(name)?;
    let mut rows: Vec<Value> = Vec::new();
    for step in image.raw["history"].as_array().into_iter().flatten() {
        rows.push(json!({
            "Id": "<missing>", "Created": step["created"].as_str().map_or(0, seconds),
            "CreatedBy": step["created_by"].as_str().unwrap_or_default(),
            "Tags": null, "Size": 0, "Comment": step["comment"].as_str().unwrap_or_default(),
        }));
    }
    rows.reverse();
    if let Some(first) = rows.first_mut() {
        first["Id"] = json!(image.id);
        first["Tags"] = json!(image.references);
        first["Size"] = json!(image.size);
    }
    Ok(Json(rows).into_response())
}

pub(super) async fn remove(
    state: State,
    Path(parts): Named,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let name = parts.get("path").cloned().unwrap_or_default();
    let force = is_true(&parameters, "force");
    let keep_leftovers = is_true(&parameters, "noprune");
    let shared = Arc::clone(&state.0);
    let done = blocking(move || {
        let used = shared.table.images();
        let done = shared.store.remove(&name, force, &used)?;
        if !keep_leftovers {
            shared.store.clean(Which::Leftovers, &used)?;
        }
        Ok(done)
    })
    .await?;
    for (action, what) in &done {
        let action = if *action == "Untagged" { "untag" } else { "delete" };
        state.bus.emit("image", action, what, json!({"name": what}));
    }
    Ok(Json(removal_rows(&done)))
}

fn removal_rows(done: &[(&'static str, String)]) -> Value {
    done.iter().map(|(action, what)| json!({*action: what})).collect()
}

pub(super) async fn prune(state: State, parameters: Parameters) -> Result<Json<Value>, ApiError> {
    let filters = Filters::parse(&parameters, &["dangling", "until", "label", "label!"])?;
    let only_dangling = filters.any("dangling", |word| ["1", "true"].contains(&word));
    let shared = Arc::clone(&state.0);
    let which = if only_dangling { Which::Dangling } else { Which::Unused };
    let until = filters.first("until").map(moment::parse).transpose()?;
    let until = until.map(|until| until.as_secs());
    let cleaned = blocking(move || {
        let mut kept = shared.table.images();
        // What the filters leave out stays, as what is in use does.
        kept.extend(lookup::load_all().into_iter().filter_map(|image| {
            let is_old = until.is_none_or(|until| seconds(&image.created) < until);
            let label = |key: &str| image.config.labels.get(key).map(String::as_str);
            (!is_old || !filters.labels(label)).then_some(image.id)
        }));
        shared.store.clean(which, &kept)
    })
    .await?;
    Ok(Json(
        json!({"ImagesDeleted": removal_rows(&cleaned.images), "SpaceReclaimed": cleaned.bytes}),
    ))
}

pub(super) async fn authenticate(state: State, body: Bytes) -> Result<Json<Value>, ApiError> {
    let account: Account = parse(&body)?;
    state.settings().check(&account).await?;
    Ok(Json(json!({"Status": "Login Succeeded", "IdentityToken": ""})))
}

/// Images of the store: their layers are what takes room.
pub(super) fn disk_use() -> (Vec<Value>, u64) {
    let images = lookup::load_all();
    let rows = images.iter().filter(|image| image.tier == Tier::Stored).map(|image| {
        json!({
            "Id": image.id, "RepoTags": image.references, "Size": image.size, "SharedSize": 0,
            "Containers": 0, "Created": seconds(&image.created),
        })
    });
    (rows.collect(), crate::volume::size(&layout::folder().join("layers")))
}
