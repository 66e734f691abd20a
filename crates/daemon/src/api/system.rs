//! `/_ping`, `/version`, `/info`, `/events`, `/system/df`.

use super::error::ApiError;
use super::query::{Filters, Parameters, text};
use super::state::State;
use super::stats::total_memory;
use super::stream::streamed;
use super::version::{API_VERSION, MIN_API_VERSION};
use super::{image_name, images, moment, view};
use crate::blocking::blocking;
use crate::bus::Event;
use crate::volume;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use corral_engine::image::lookup;
use corral_engine::time;
use corral_machine::{deadline, os_release};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Clients show it, and some read it.
const NO_GO: &str = "none (Rust)";

pub(super) async fn ping() -> Response {
    (
        [
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Builder-Version", "1"),
            ("Docker-Experimental", "false"),
            ("Swarm", "inactive"),
        ],
        "OK",
    )
        .into_response()
}

pub(super) async fn version() -> Json<Value> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let commit = os_release::running_commit().unwrap_or_else(|| "unknown".to_owned());
    Json(json!({
        "Platform": {"Name": "Corral"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": kernel,
        "GitCommit": commit, "GoVersion": NO_GO, "BuildTime": "", "Experimental": false,
        "Components": [{"Name": "Engine", "Version": env!("CARGO_PKG_VERSION"), "Details": {
            "ApiVersion": API_VERSION, "MinAPIVersion": MIN_API_VERSION, "Os": "linux",
            "Arch": "amd64", "KernelVersion": kernel, "GitCommit": commit,
            "GoVersion": NO_GO, "BuildTime": "", "Experimental": "false",
        }}],
    }))
}

/// `POST /swarm/leave`: SDKs call it before or after their work, and expect this response.
pub(super) async fn no_swarm() -> Response {
    let message = json!({"message": "This node is not part of a swarm"});
    (StatusCode::SERVICE_UNAVAILABLE, Json(message)).into_response()
}

pub(super) async fn info(state: State) -> Result<Json<Value>, ApiError> {
    let containers = state.table.all();
    let count =
        |word: &str| containers.iter().filter(|container| container.status.word() == word).count();
    let (running, paused) = (count("running"), count("paused"));
    let uname = rustix::system::uname();
    let images = blocking(|| Ok(lookup::load_all().len())).await?;
    let settings = state.settings();
    let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut info = json!({
        "ID": engine_id(&machine_id), "Name": uname.nodename().to_string_lossy(),
        "Containers": containers.len(), "ContainersRunning": running, "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused, "Images": images,
        "Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "overlayfs"]],
        "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "CgroupVersion": "2",
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": total_memory(), "KernelVersion": uname.release().to_string_lossy(),
        "SystemTime": time::rfc3339(time::now()),
        "RegistryConfig": {
            "Mirrors": settings.mirrors, "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {},
        },
    });
    if let (Some(info), Value::Object(abilities)) = (info.as_object_mut(), abilities()) {
        info.extend(abilities);
    }
    Ok(Json(info))
}

/// A UUID of this engine alone: it does not give the id of the machine away, as machine-id(5) wants
/// it.
fn engine_id(machine_id: &str) -> String {
    let digest = Sha256::digest(format!("corral system engine {}", machine_id.trim()));
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(from, to)| digits.get(from..to).unwrap_or_default()).join("-")
}

/// What this engine is and supports, whether or not it is used at the moment.
fn abilities() -> Value {
    json!({
        "MemoryLimit": true, "SwapLimit": true, "CpuCfsPeriod": true, "CpuCfsQuota": true,
        "CPUShares": true, "CPUSet": true, "PidsLimit": true, "OomKillDisable": false,
        "ExperimentalBuild": false, "IPv4Forwarding": true, "Debug": false,
        "OperatingSystem": "Corral", "OSVersion": env!("CARGO_PKG_VERSION"),
        "OSType": "linux", "Architecture": "x86_64",
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "DockerRootDir": corral_engine::paths::STORE, "InitBinary": "docker-init",
        "DefaultRuntime": "libcontainer", "Runtimes": {"libcontainer": {"path": "ros"}},
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "Plugins": {
            "Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null,
            "Log": ["json-file", "local", "none"],
        },
        "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": false, "NodeID": ""},
        "IndexServerAddress": "https://index.docker.io/v1/",
        "LiveRestoreEnabled": true, "Isolation": "", "Labels": [], "Warnings": null,
    })
}

const FILTERS: [&str; 9] =
    ["container", "daemon", "event", "image", "label", "network", "scope", "type", "volume"];

/// Events, one JSON object a line; with `since` also past ones, with `until` none that are later.
pub(super) async fn events(state: State, parameters: Parameters) -> Result<Response, ApiError> {
    let filters = Arc::new(Filters::parse(&parameters, &FILTERS)?);
    let moment = |name: &str| match text(&parameters, name) {
        "" => Ok(None),
        text => moment::parse(text).map(Some),
    };
    let (since, until) = (moment("since")?, moment("until")?);
    let (past, receiver) = state.bus.listen();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let in_past = |event: &Arc<Event>| {
        since.is_some_and(|since| event.time >= nanos(since))
            && until.is_none_or(|until| event.time <= nanos(until))
    };
    let old: Vec<_> = past
        .into_iter()
        .filter(in_past)
        .filter_map(|event| line(&event, &filters))
        .map(Ok)
        .collect();
    let left = until.map(|until| until.saturating_sub(time::now()));
    let deadline = left.map(|left| tokio::time::Instant::from_std(deadline::after(left)));
    let new = stream::unfold((receiver, filters), move |(mut receiver, filters)| async move {
        loop {
            let next = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, receiver.recv()).await.ok()?,
                None => receiver.recv().await,
            };
            match next {
                Ok(event) => {
                    if let Some(line) = line(&event, &filters) {
                        return Some((Ok::<Bytes, Infallible>(line), (receiver, filters)));
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Ok(streamed("application/json", stream::iter(old).chain(new)))
}

fn line(event: &Event, filters: &Filters) -> Option<Bytes> {
    let attribute = |key: &str| event.attributes.get(key).and_then(Value::as_str);
    // By the beginning of a name, as Docker does.
    let named = |wanted: &str| attribute("name").is_some_and(|name| name.starts_with(wanted));
    let is = |kind: &'static str| {
        move |wanted: &str| event.kind == kind && (event.id.starts_with(wanted) || named(wanted))
    };
    let image = |wanted: &str| match event.kind {
        "image" => event.id.starts_with(wanted) || named(wanted),
        _ => attribute("image").is_some_and(|image| image_name::is_same(image, wanted)),
    };
    let fits = filters.any("type", |kind| kind == event.kind)
        && filters.any("event", |action| {
            action == event.action || event.action.split(':').next() == Some(action)
        })
        && filters.any("container", is("container"))
        && filters.any("network", is("network"))
        && filters.any("volume", is("volume"))
        && filters.any("image", image)
        && filters.any("scope", |scope| scope == "local")
        && filters.labels(attribute);
    fits.then(|| Bytes::from(format!("{}\n", event.to_json())))
}

pub(super) async fn disk_use(state: State) -> Result<Json<Value>, ApiError> {
    let containers = state.table.all();
    Ok(blocking(move || {
        let (images, layers) = images::disk_use();
        let rows: Vec<Value> = containers
            .iter()
            .map(|container| {
                let mut row = view::summary(container, &state.networks);
                let upper = corral_engine::paths::overlay(&container.id).join("diff");
                row["SizeRw"] = json!(volume::size(&upper));
                row
            })
            .collect();
        let uses = |name: &str| {
            let binds = containers.iter().flat_map(|container| &container.spec.binds);
            binds.filter(|bind| bind.volume.as_deref() == Some(name)).count()
        };
        let volumes: Vec<Value> = volume::all()
            .iter()
            .map(|each| {
                json!({
                    "Name": each.name, "Driver": "local", "Mountpoint": each.data(),
                    "Labels": each.labels, "Scope": "local", "Options": null,
                    "UsageData": {"Size": volume::size(&each.data()), "RefCount": uses(&each.name)},
                })
            })
            .collect();
        Ok(Json(json!({
            "LayersSize": layers, "Images": images, "Containers": rows, "Volumes": volumes,
            "BuildCache": [],
        })))
    })
    .await?)
}

#[cfg(test)]
mod tests {
    use super::engine_id;

    #[test]
    fn an_engine_has_the_same_id_as_long_as_its_machine_has() {
        let id = engine_id("4c4c4544004235108051b4c04f4e3832\n");
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id, engine_id("4c4c4544004235108051b4c04f4e3832"));
        assert_ne!(id, engine_id("4c4c4544004235108051b4c04f4e3833"));
    }
}
