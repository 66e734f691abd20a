//! Between the engine's own types and the API's.

use crate::logs;
use crate::spec::{Bind, ContainerSpec, Snapshot};
use bollard_stubs::models::{ContainerCreateBody, HostConfig};
use serde_json::{Value, json};
use std::time::Duration;

/// A row of `GET /containers/json`.
pub(super) fn summary(container: &Snapshot) -> Value {
    let spec = &container.spec;
    json!({
        "Id": container.id, "Names": [format!("/{}", spec.name)], "Image": spec.image, "ImageID": "",
        "Command": command(spec).join(" "), "Created": container.created / 1000, "Ports": [],
        "Labels": spec.labels, "State": docker_state(container), "Status": status(container),
        "HostConfig": {"NetworkMode": network(spec)}, "NetworkSettings": {"Networks": {}},
        "Mounts": spec.binds.iter().map(mount).collect::<Vec<_>>(),
    })
}

/// `GET /containers/{id}/json`.
pub(super) fn inspect(container: &Snapshot) -> Value {
    let spec = &container.spec;
    let time = |millis: u64| match millis {
        0 => "0001-01-01T00:00:00Z".to_owned(),
        millis => logs::rfc3339(Duration::from_millis(millis)),
    };
    let state = docker_state(container);
    let command = command(spec);
    json!({
        "Id": container.id, "Name": format!("/{}", spec.name), "Created": time(container.created),
        "Path": command.first().cloned().unwrap_or_default(), "Args": command.get(1..).unwrap_or_default(),
        "Image": spec.image, "Platform": "linux", "Driver": "overlay2", "RestartCount": container.restarts,
        "LogPath": crate::paths::log(&container.id),
        "State": {
            "Status": state, "Running": state == "running", "Paused": false, "Restarting": state == "restarting",
            "OOMKilled": false, "Dead": false, "Pid": container.pid, "ExitCode": container.exit_code,
            "Error": container.error, "StartedAt": time(container.started), "FinishedAt": time(container.finished),
        },
        "HostConfig": {
            "Binds": spec.binds.iter().map(bind_text).collect::<Vec<_>>(),
            "NetworkMode": network(spec), "Privileged": spec.privileged, "ReadonlyRootfs": spec.read_only,
            "PidMode": host(spec.host_pid), "IpcMode": host(spec.host_ipc), "UTSMode": host(spec.host_uts),
            "CapAdd": spec.cap_add, "CapDrop": spec.cap_drop, "Memory": spec.memory,
            "RestartPolicy": {"Name": spec.restart, "MaximumRetryCount": spec.restart_limit},
            "LogConfig": {"Type": "json-file", "Config": {}},
        },
        "Config": {
            "Image": spec.image, "Cmd": spec.command, "Entrypoint": spec.entrypoint, "Env": spec.env,
            "Labels": spec.labels, "Tty": spec.tty, "OpenStdin": spec.open_stdin, "User": spec.user,
            "WorkingDir": spec.working_dir, "Hostname": spec.hostname, "StopSignal": spec.stop_signal,
            "StopTimeout": spec.stop_timeout,
        },
        "NetworkSettings": {"Networks": {}, "Ports": {}},
        "Mounts": spec.binds.iter().map(mount).collect::<Vec<_>>(),
    })
}

/// The body of `POST /containers/create` → what the engine is to make.
pub(super) fn spec(name: String, body: ContainerCreateBody) -> ContainerSpec {
    let host = body.host_config.unwrap_or_default();
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    let policy = host.restart_policy.clone().unwrap_or_default();
    ContainerSpec {
        name,
        image: body.image.unwrap_or_default(),
        entrypoint: body.entrypoint.filter(|words| !words.is_empty()),
        command: body.cmd.filter(|words| !words.is_empty()),
        env: body.env.unwrap_or_default(),
        working_dir: body.working_dir.unwrap_or_default(),
        user: body.user.unwrap_or_default(),
        hostname: body.hostname.unwrap_or_default(),
        tty: body.tty.unwrap_or(false),
        open_stdin: body.open_stdin.unwrap_or(false),
        privileged: host.privileged.unwrap_or(false),
        read_only: host.readonly_rootfs.unwrap_or(false),
        cap_add: host.cap_add.clone().unwrap_or_default(),
        cap_drop: host.cap_drop.clone().unwrap_or_default(),
        host_network: is_host(&host.network_mode),
        host_pid: is_host(&host.pid_mode),
        host_ipc: is_host(&host.ipc_mode),
        host_uts: is_host(&host.uts_mode),
        binds: binds(&host),
        labels: body.labels.unwrap_or_default().into_iter().collect(),
        restart: policy.name.map_or_else(|| "no".to_owned(), |name| name.to_string()),
        restart_limit: policy.maximum_retry_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        stop_signal: body.stop_signal.unwrap_or_else(|| "SIGTERM".to_owned()),
        stop_timeout: body.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(10),
        memory: host.memory.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        ..ContainerSpec::default()
    }
}

fn binds(host: &HostConfig) -> Vec<Bind> {
    let parse = |text: &String| {
        let mut parts = text.splitn(3, ':');
        let source = parts.next()?.to_owned();
        let target = parts.next()?.to_owned();
        let options = parts.next().unwrap_or_default();
        let has = |wanted: &str| options.split(',').any(|option| option == wanted);
        Some(Bind { source, target, read_only: has("ro"), shared: has("shared") || has("rshared") })
    };
    host.binds.iter().flatten().filter_map(parse).collect()
}

/// Docker has fewer words for where a container is.
pub(super) fn docker_state(container: &Snapshot) -> &str {
    match container.state.as_str() {
        "starting" => "created",
        "stopping" => "running",
        other => other,
    }
}

fn status(container: &Snapshot) -> String {
    let age = |millis: u64| spoken(logs::now().saturating_sub(Duration::from_millis(millis)));
    match docker_state(container) {
        "running" => format!("Up {}", age(container.started)),
        "exited" => format!("Exited ({}) {} ago", container.exit_code, age(container.finished)),
        "restarting" => format!("Restarting ({}) {} ago", container.exit_code, age(container.finished)),
        _ => "Created".to_owned(),
    }
}

fn spoken(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / 60),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn command(spec: &ContainerSpec) -> Vec<String> {
    spec.entrypoint.iter().chain(&spec.command).flatten().cloned().collect()
}

fn network(spec: &ContainerSpec) -> &'static str {
    if spec.host_network { "host" } else { "none" }
}

fn host(shared: bool) -> &'static str {
    if shared { "host" } else { "" }
}

fn bind_text(bind: &Bind) -> String {
    let mode = if bind.read_only { ":ro" } else { "" };
    format!("{}:{}{mode}", bind.source, bind.target)
}

fn mount(bind: &Bind) -> Value {
    let propagation = if bind.shared { "rshared" } else { "rslave" };
    json!({"Type": "bind", "Source": bind.source, "Destination": bind.target, "Mode": "", "RW": !bind.read_only, "Propagation": propagation})
}
