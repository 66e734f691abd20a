//! `/_ping`, `/version`, `/info`, `/events`.

use super::{API_VERSION, MIN_API_VERSION, State};
use crate::daemon::blocking;
use crate::error::EngineError;
use crate::image::Embedded;
use crate::protocol::Event;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fs;
use tokio::sync::broadcast::error::RecvError;

pub(super) async fn ping() -> &'static str {
    "OK"
}

pub(super) async fn version() -> Json<Value> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Json(json!({
        "Platform": {"Name": "Corral"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": kernel,
        "GitCommit": "", "GoVersion": "", "BuildTime": "",
        "Components": [{"Name": "Engine", "Version": env!("CARGO_PKG_VERSION"), "Details": {"ApiVersion": API_VERSION, "MinAPIVersion": MIN_API_VERSION}}],
    }))
}

pub(super) async fn info(state: State) -> Result<Json<Value>, EngineError> {
    let shared = state.0;
    let containers = blocking(move || shared.client.list()).await?;
    let count = |wanted: &str| containers.iter().filter(|container| container.state == wanted).count();
    let running = count("running");
    let uname = rustix::system::uname();
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory: u64 = text("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0);
    Ok(Json(json!({
        "ID": "corral", "Name": uname.nodename().to_string_lossy(),
        "Containers": containers.len(), "ContainersRunning": running, "ContainersPaused": 0,
        "ContainersStopped": containers.len() - running,
        "Images": Embedded::load_all().len(),
        "Driver": "overlay2", "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "CgroupVersion": "2",
        "KernelVersion": uname.release().to_string_lossy(), "OperatingSystem": "Corral", "OSType": "linux",
        "Architecture": "x86_64", "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory * 1024, "ServerVersion": env!("CARGO_PKG_VERSION"),
        "DockerRootDir": "/var/lib/system-docker", "InitBinary": "", "DefaultRuntime": "libcontainer",
        "Runtimes": {"libcontainer": {"path": "ros"}},
        "Plugins": {"Volume": [], "Network": ["host", "none"], "Log": ["json-file"]},
        "Swarm": {"LocalNodeState": "inactive"}, "Warnings": null,
    })))
}

/// What happens to containers, one JSON object a line, until the client hangs up.
pub(super) async fn events(state: State) -> Response {
    let receiver = state.events.subscribe();
    let lines = stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(event) => {
                    if let Some(line) = event_line(&event) {
                        return Some((Ok::<Bytes, Infallible>(line), receiver));
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    ([("Content-Type", "application/json")], Body::from_stream(lines)).into_response()
}

fn event_line(event: &Event) -> Option<Bytes> {
    let Event::Container { id, name, image, action, exit_code, time } = event else { return None };
    let mut attributes = json!({"name": name, "image": image});
    if let Some(code) = exit_code {
        attributes["exitCode"] = json!(code.to_string());
    }
    let value = json!({
        "Type": "container", "Action": action, "Actor": {"ID": id, "Attributes": attributes}, "scope": "local",
        "status": action, "id": id, "from": image, "time": time / 1000, "timeNano": time * 1_000_000,
    });
    Some(Bytes::from(format!("{value}\n")))
}
