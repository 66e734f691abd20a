//! Images that come and go: pull, push, import, load, save.

use super::changes::parse_changes;
use super::error::ApiError;
use super::image_name::image_name;
use super::query::{Pairs, Parameters, all, text};
use super::state::State;
use super::stream::{json_lines, readable, written};
use crate::blocking::blocking;
use crate::image::archive;
use crate::image::progress::Progress;
use crate::image::pull::PullRequest;
use crate::image::registry::Account;
use axum::body::Body;
use axum::extract::{Query, RawQuery};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use corral_engine::error::EngineError;
use corral_engine::image::{lookup, reference};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc::channel;

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

/// `POST /images/{name}/push`.
pub(super) async fn push(
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

/// `POST /images/load`. With `names=false`, which is not Docker's, no name moves to another image.
pub(super) async fn load(
    state: State,
    parameters: Parameters,
    body: Body,
) -> Result<Response, ApiError> {
    let (shared, reader) = (Arc::clone(&state.0), readable(body));
    let with_names = text(&parameters, "names") != "false";
    let loaded = match blocking(move || shared.store.load(reader, with_names)).await {
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

/// The account of the header `X-Registry-Auth`.
pub(super) fn account(headers: &HeaderMap) -> Option<Account> {
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
