//! `/images`.

use super::changes::parse_changes;
use super::error::ApiError;
use super::moment::{self, seconds};
use super::query::{Filters, Pairs, Parameters, all, is_true, parse, text};
use super::state::State;
use super::stream::{json_lines, readable, written};
use crate::blocking::blocking;
use crate::image::gc::Which;
use crate::image::progress::Progress;
use crate::image::pull::PullRequest;
use crate::image::registry::Account;
use crate::image::{archive, distribution};
use crate::shared::Shared;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, RawQuery};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use corral_engine::error::EngineError;
use corral_engine::image::metadata::{Image, Tier};
use corral_engine::image::reference;
use corral_engine::image::{layout, lookup};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc::channel;

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

/// A pattern as in a shell, of a name without or with a tag.
pub fn is_like(name: &str, pattern: &str) -> bool {
    let bare = name.rsplit_once(':').map_or(name, |(bare, _)| bare);
    [name, bare].iter().any(|text| fits_pattern(text.as_bytes(), pattern.as_bytes()))
}

/// Where it does not fit, the last star takes one more byte: an earlier one need never be tried
/// again.
fn fits_pattern(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut next, mut star) = (0, 0, None);
    while at < text.len() {
        match (pattern.get(next), star) {
            (Some(b'*'), _) => {
                star = Some((next, at));
                next += 1;
            }
            (Some(byte), _) if *byte == b'?' || *byte == text[at] => {
                (at, next) = (at + 1, next + 1)
            }
            (_, Some((after, taken))) => {
                star = Some((after, taken + 1));
                (at, next) = (taken + 1, after + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[next..].iter().all(|byte| *byte == b'*')
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

fn account(headers: &HeaderMap) -> Option<Account> {
    parse_account(headers.get("x-registry-auth")?.to_str().ok()?)
}

/// `X-Registry-Auth`: JSON in base64 for URLs. What cannot be read is no account, as in Docker.
pub fn parse_account(text: &str) -> Option<Account> {
    let bytes = URL_SAFE
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')))
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// `POST /images/create`: a pull, or an import.
pub(super) async fn create(
    state: State,
    parameters: Parameters,
    pairs: Pairs,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if !text(&parameters, "fromSrc").is_empty() {
        return Ok(import(state, &parameters, &pairs.0, body).await?);
    }
    let (repository, tag) = (text(&parameters, "fromImage"), text(&parameters, "tag"));
    let name = match tag {
        "" => repository.to_owned(),
        tag if tag.starts_with("sha256:") => format!("{repository}@{tag}"),
        tag => format!("{repository}:{tag}"),
    };
    reference::parse(&name)?;
    let platform = match text(&parameters, "platform") {
        "" => "linux/amd64",
        platform => platform,
    };
    let wanted = PullRequest {
        name: name.clone(),
        settings: state.settings(),
        account: account(&headers),
        platform: platform.to_owned(),
    };
    let (sender, receiver) = channel(64);
    let shared = state.0;
    Ok(report(sender.clone(), receiver, async move {
        let id = shared.store.pull(wanted, Progress::to(sender)).await?;
        shared.bus.emit("image", "pull", &name, json!({"name": name, "id": id}));
        Ok(())
    })
    .await?)
}

async fn push(
    state: State,
    name: String,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response, EngineError> {
    let full = match text(parameters, "tag") {
        "" => name,
        tag => format!("{name}:{tag}"),
    };
    let (shared, account) = (state.0, account(headers));
    let (sender, receiver) = channel(64);
    report(sender.clone(), receiver, async move {
        shared
            .store
            .push(&full, &shared.settings(), account.as_ref(), Progress::to(sender))
            .await?;
        shared.bus.emit("image", "push", &full, json!({"name": full}));
        Ok(())
    })
    .await
}

/// Answers with the progress that work reports. A failure before the first report has a status of
/// its own. A later one is reported in the stream, as in Docker. The work goes on when the client
/// hangs up.
async fn report(
    sender: tokio::sync::mpsc::Sender<Value>,
    mut receiver: tokio::sync::mpsc::Receiver<Value>,
    work: impl Future<Output = Result<(), EngineError>> + Send + 'static,
) -> Result<Response, EngineError> {
    let (failed, failure) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        if let Err(error) = work.await {
            let message = error.to_string();
            let _ = failed.send(error);
            let _ =
                sender.send(json!({"errorDetail": {"message": message}, "error": message})).await;
        }
    });
    let Some(first) = receiver.recv().await else {
        return Ok(json_lines(receiver));
    };
    if first.get("error").is_some() {
        return Err(failure
            .await
            .unwrap_or_else(|_| EngineError::Failed(first["error"].to_string())));
    }
    let (again, replayed) = channel(64);
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(value) = next {
            if again.send(value).await.is_err() {
                break;
            }
            next = receiver.recv().await;
        }
        // The work does not wait for a client that is gone.
        while receiver.recv().await.is_some() {}
    });
    Ok(json_lines(replayed))
}

async fn import(
    state: State,
    parameters: &Parameters,
    pairs: &[(String, String)],
    body: Body,
) -> Result<Response, EngineError> {
    let source = text(parameters, "fromSrc");
    if source != "-" {
        return Err(EngineError::NotImplemented(
            "import from a URL is not supported: download the archive and send it as the body"
                .to_owned(),
        ));
    }
    let name = image_name(text(parameters, "repo"), text(parameters, "tag"));
    let (shared, reader) = (Arc::clone(&state.0), readable(body));
    let config = parse_changes(&all(pairs, "changes").join("\n"))?;
    let comment = match text(parameters, "message") {
        "" => "imported".to_owned(),
        message => message.to_owned(),
    };
    let id =
        blocking(move || shared.store.import(reader, name.as_deref(), config, &comment)).await?;
    state.bus.emit("image", "import", &id, json!({"name": id}));
    let (sender, receiver) = channel(1);
    let _ = sender.send(json!({"status": id})).await;
    drop(sender);
    Ok(json_lines(receiver))
}

/// The name that a client requests for a new image; None: it has only its id.
pub(super) fn image_name(repository: &str, tag: &str) -> Option<String> {
    match (repository, tag) {
        ("", _) => None,
        (repository, "") => Some(repository.to_owned()),
        (repository, tag) => Some(format!("{repository}:{tag}")),
    }
}

/// Does an image's name, as a client wrote it, mean the wanted one? A wanted name without a tag
/// means every tag.
pub(super) fn is_same(name: &str, wanted: &str) -> bool {
    let full = |text: &str| reference::familiar(text).ok();
    let (Some(name), Some(full_wanted)) = (full(name), full(wanted)) else { return name == wanted };
    let bare = name.rsplit_once(':').map_or(name.as_str(), |(bare, _)| bare);
    name == full_wanted || bare == wanted
}

pub(super) async fn load(state: State, body: Body) -> Result<Response, ApiError> {
    let (shared, reader) = (Arc::clone(&state.0), readable(body));
    let loaded = match blocking(move || shared.store.load(reader)).await {
        Ok(loaded) => loaded,
        // In the stream, as in Docker: clients look for it there.
        Err(error) => return Ok(failed(&error).await),
    };
    for line in &loaded {
        state.bus.emit("image", "load", line.rsplit(' ').next().unwrap_or_default(), json!({}));
    }
    let (sender, receiver) = channel(loaded.len().max(1));
    for line in loaded {
        let _ = sender.send(json!({"stream": format!("{line}\n")})).await;
    }
    drop(sender);
    Ok(json_lines(receiver))
}

async fn failed(error: &EngineError) -> Response {
    let message = error.to_string();
    let (sender, receiver) = channel(1);
    let _ = sender.send(json!({"errorDetail": {"message": message}, "error": message})).await;
    json_lines(receiver)
}

/// `GET /images/get?names=a&names=b`.
pub(super) async fn save(RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let uri: axum::http::Uri = format!("/?{}", query.unwrap_or_default())
        .parse()
        .map_err(|_| EngineError::BadRequest("invalid query parameters".to_owned()))?;
    let pairs: Query<Vec<(String, String)>> = Query::try_from_uri(&uri)
        .map_err(|error| EngineError::BadRequest(format!("invalid query parameters: {error}")))?;
    let names: Vec<String> = pairs
        .0
        .into_iter()
        .filter(|(key, _)| key == "names")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    // A missing image is reported before the archive begins.
    names.iter().try_for_each(|name| lookup::find(name).map(drop))?;
    Ok(written(move |writer| archive::save(&names, writer)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_every_tag() {
        for (name, wanted, expected) in [
            ("busybox", "busybox:latest", true),
            ("busybox:latest", "busybox", true),
            ("busybox:1", "busybox", true),
            ("busybox:1", "busybox:latest", false),
            ("docker.io/library/busybox", "busybox", true),
            ("busy", "busybox", false),
        ] {
            assert_eq!(is_same(name, wanted), expected, "{name} {wanted}");
        }
    }

    #[test]
    fn names_fit_patterns() {
        for (name, pattern, expected) in [
            ("busybox:latest", "busybox", true),
            ("busybox:latest", "busy*", true),
            ("busybox:1", "busybox:2", false),
            ("corral/os-base:1", "corral/*", true),
            ("a:1", "?:1", true),
            ("abcabd:1", "*ab?:1", true),
            ("abc", "a*b*c*", true),
            ("abc", "*b", false),
            ("", "**", true),
            ("", "?", false),
            (&"a".repeat(200), &"*a".repeat(100), true),
            (&"a".repeat(200), &format!("{}b", "*a".repeat(100)), false),
        ] {
            assert_eq!(is_like(name, pattern), expected, "{name} {pattern}");
        }
    }
}
