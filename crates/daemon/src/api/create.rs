//! `POST /containers/create`: a client's request → the specification of a container.

use super::endpoints::{NetworkRequest, published};
use super::error::ApiError;
use super::query::{Parameters, parse, text};
use super::state::State;
use super::{healthcheck, limits, mounts};
use crate::blocking::blocking;
use crate::image::store;
use crate::network::ports;
use crate::record::Record;
use crate::shared::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bollard_stubs::models::{ContainerCreateBody, DeviceMapping, HostConfig};
use corral_engine::client::unexpected;
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::image::lookup;
use corral_engine::image::metadata::Image;
use corral_engine::protocol::{Reply, Request};
use corral_engine::signal::NotASignal;
use corral_engine::spec::{ContainerSpec, Dns, Grace, Seccomp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// <https://docs.docker.com/engine/logging/configure/#supported-logging-drivers>
const DOCKERS_LOG_DRIVERS: [&str; 7] =
    ["syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "gcplogs"];

pub(super) async fn create(
    state: State,
    parameters: Parameters,
    body: Bytes,
) -> Result<Response, ApiError> {
    let shared = state.0;
    let mut requested: Value = parse(&body)?;
    move_runtime(&mut requested);
    let body: ContainerCreateBody =
        serde_json::from_value(requested.clone()).map_err(not_a_body)?;
    let name = text(&parameters, "name").trim_start_matches('/').to_owned();
    let id = new_id();
    let name = if name.is_empty() { free_name(&shared, &id) } else { name };
    check_name(&name)?;
    let networks = NetworkRequest::parse(&requested, &body)?;
    let making = Arc::clone(&shared);
    let mut spec = blocking(move || make(&making, name, body)).await?;
    // No other container may get the same address or port before PID 1 knows of this one.
    let _allocation = shared.networks.allocation.lock().await;
    networks.connect(&shared, &mut spec)?;
    ports::choose(&shared.table.all(), &mut spec)?;
    let record = record(requested, &spec);
    let (keeping, kept) = (Arc::clone(&shared), id.clone());
    blocking(move || Ok(keeping.records.add(&kept, record)?)).await?;
    match shared.call(Request::Create { id: id.clone(), spec: Box::new(spec), past: None }).await {
        Ok(Reply::Created { id }) => {
            let answer = Json(json!({"Id": id, "Warnings": []}));
            Ok((StatusCode::CREATED, answer).into_response())
        }
        Ok(other) => Err(unexpected(&other).into()),
        Err(error) => {
            shared.records.discard(&id);
            Err(error.into())
        }
    }
}

fn not_a_body(error: serde_json::Error) -> EngineError {
    EngineError::BadRequest(format!("the request's body: {error}"))
}

/// Some clients set the runtime beside the host's part of a request.
fn move_runtime(requested: &mut Value) {
    let Some(requested) = requested.as_object_mut() else { return };
    let Some(runtime) = requested.remove("Runtime").filter(|name| *name != "" && name.is_string())
    else {
        return;
    };
    let host = requested.entry("HostConfig").or_insert(Value::Null);
    if host.is_null() {
        *host = json!({});
    }
    if let Value::Object(host) = host {
        host.entry("Runtime").or_insert(runtime);
    }
}

/// What is kept of a request.
fn record(mut requested: Value, spec: &ContainerSpec) -> Record {
    let host_config = requested.get_mut("HostConfig").map(Value::take).unwrap_or_default();
    if let Value::Object(requested) = &mut requested {
        requested.remove("HostConfig");
        requested.remove("NetworkingConfig");
    }
    Record { spec: spec.clone(), config: requested, host_config, ..Record::default() }
}

/// `c` and the beginning of the id, as short as it can be for a name that is free.
fn free_name(shared: &Shared, id: &str) -> String {
    let taken = |name: &str| shared.table.all().iter().any(|container| container.spec.name == name);
    let lengths = 11..id.len();
    lengths
        .map(|length| format!("c{}", &id[..length]))
        .find(|name| !taken(name))
        .unwrap_or_else(|| id.to_owned())
}

pub(super) fn check_name(name: &str) -> Result<(), EngineError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && name.len() > 1 && name.bytes().all(good) {
        return Ok(());
    }
    Err(EngineError::BadRequest(format!(
        "invalid container name ({name}): only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

fn make(
    shared: &Shared,
    name: String,
    body: ContainerCreateBody,
) -> Result<ContainerSpec, EngineError> {
    let wanted = body.image.clone().unwrap_or_default();
    let image = lookup::find(&wanted)?;
    store::touch(&image.id);
    let host = body.host_config.clone().unwrap_or_default();
    let volumes = body.volumes.clone().unwrap_or_default();
    let mut spec = plan_spec(body, &image)?;
    spec.name = name;
    spec.image = wanted;
    join(shared, &mut spec, &host)?;
    mounts::of_others(shared, &host, &mut spec)?;
    mounts::make_volumes(&mut spec, &volumes, &image)?;
    Ok(spec)
}

/// The spec of a container, from the client's request and the image: all that needs neither the
/// store nor other containers.
pub fn plan_spec(body: ContainerCreateBody, image: &Image) -> Result<ContainerSpec, EngineError> {
    let host = body.host_config.clone().unwrap_or_default();
    refuse(&host)?;
    check_log_driver(&host)?;
    let exposed = body.exposed_ports.clone().unwrap_or_default();
    let exposed: BTreeSet<String> =
        exposed.into_iter().chain(image.config.exposed_ports.keys().cloned()).collect();
    let has_command = body.cmd.as_ref().is_some_and(|words| !words.is_empty())
        || body.entrypoint.as_ref().is_some_and(|words| words.iter().any(|word| !word.is_empty()))
        || !image.config.cmd.is_empty()
        || !image.config.entrypoint.is_empty();
    if !has_command {
        return Err(EngineError::BadRequest("no command specified".to_owned()));
    }
    let mut spec = process(body, image)?;
    spec.image_id = image.id.clone();
    spec.own_names = true;
    isolate(&mut spec, &host)?;
    limits::apply(&mut spec, &host)?;
    (spec.binds, spec.tmpfs) = mounts::parse(&host)?;
    spec.dns = Dns {
        servers: host.dns.unwrap_or_default(),
        search: host.dns_search.unwrap_or_default(),
        options: host.dns_options.unwrap_or_default(),
    };
    spec.extra_hosts = host.extra_hosts.unwrap_or_default();
    spec.ports = published(
        &host.port_bindings.unwrap_or_default(),
        host.publish_all_ports == Some(true),
        &exposed,
    )?;
    Ok(spec)
}

/// Options that this engine does not have are refused, not ignored.
fn refuse(host: &HostConfig) -> Result<(), EngineError> {
    let cases = [
        (
            host.userns_mode.as_deref().is_some_and(|mode| !["", "host"].contains(&mode)),
            "user namespaces",
        ),
        (
            host.device_requests.as_ref().is_some_and(|list| !list.is_empty()),
            "device requests (GPUs)",
        ),
        (
            host.runtime
                .as_deref()
                .is_some_and(|name| !["", "libcontainer", "runc"].contains(&name)),
            "other runtimes",
        ),
    ];
    match cases.iter().find(|(wanted, _)| *wanted) {
        Some((_, what)) => {
            Err(EngineError::NotImplemented(format!("the system engine does not support {what}")))
        }
        None => Ok(()),
    }
}

/// A driver that Docker has is not there; any other name is a mistake, in Docker's words.
fn check_log_driver(host: &HostConfig) -> Result<(), EngineError> {
    match host.log_config.as_ref().and_then(|log| log.typ.as_deref()).unwrap_or_default() {
        "" | "json-file" | "none" | "local" => Ok(()),
        kind if DOCKERS_LOG_DRIVERS.contains(&kind) => Err(EngineError::NotImplemented(format!(
            "the system engine has no log driver {kind}: it has json-file, local and none"
        ))),
        kind => Err(EngineError::BadRequest(format!(
            "logger: no log driver named '{kind}' is registered"
        ))),
    }
}

/// What the process of a container is.
fn process(body: ContainerCreateBody, image: &Image) -> Result<ContainerSpec, EngineError> {
    let mut labels = image.config.labels.clone();
    labels.extend(body.labels.unwrap_or_default());
    let signals = [body.stop_signal.as_deref(), Some(image.config.stop_signal.as_str())];
    let stop_signal = signals.into_iter().flatten().find(|text| !text.is_empty());
    let stop_signal = stop_signal.map(str::parse).transpose();
    Ok(ContainerSpec {
        entrypoint: body
            .entrypoint
            .map(|words| words.into_iter().filter(|word| !word.is_empty()).collect()),
        command: body.cmd.filter(|words| !words.is_empty()),
        env: body.env.unwrap_or_default(),
        working_dir: body.working_dir.unwrap_or_default(),
        user: body.user.unwrap_or_default(),
        hostname: body.hostname.unwrap_or_default(),
        domainname: body.domainname.unwrap_or_default(),
        tty: body.tty.unwrap_or(false),
        open_stdin: body.open_stdin.unwrap_or(false),
        stdin_once: body.stdin_once.unwrap_or(false),
        labels: labels.into_iter().collect(),
        stop_signal: stop_signal.map_err(not_a_signal)?.unwrap_or_default(),
        stop_timeout: body.stop_timeout.map_or_else(Grace::default, Grace::from_seconds),
        health: healthcheck::merged(body.healthcheck, image),
        ..ContainerSpec::default()
    })
}

fn not_a_signal(error: NotASignal) -> EngineError {
    EngineError::BadRequest(error.to_string())
}

/// Whose namespaces it shares.
fn join(shared: &Shared, spec: &mut ContainerSpec, host: &HostConfig) -> Result<(), EngineError> {
    let other = |mode: &Option<String>| -> Result<String, EngineError> {
        match mode.as_deref().and_then(|mode| mode.strip_prefix("container:")) {
            Some(name) => Ok(shared.find(name)?.id.clone()),
            None => Ok(String::new()),
        }
    };
    spec.pid_of = other(&host.pid_mode)?;
    spec.ipc_of = other(&host.ipc_mode)?;
    Ok(())
}

/// What it may do.
fn isolate(spec: &mut ContainerSpec, host: &HostConfig) -> Result<(), EngineError> {
    spec.privileged = host.privileged.unwrap_or(false);
    spec.read_only = host.readonly_rootfs.unwrap_or(false);
    spec.cap_add = host.cap_add.clone().unwrap_or_default();
    spec.cap_drop = host.cap_drop.clone().unwrap_or_default();
    spec.group_add = host.group_add.clone().unwrap_or_default();
    spec.init = host.init.unwrap_or(false);
    spec.device_rules = host.device_cgroup_rules.clone().unwrap_or_default();
    spec.sysctls = host.sysctls.clone().unwrap_or_default().into_iter().collect();
    spec.devices = host.devices.iter().flatten().map(device).collect();
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    spec.host_pid = is_host(&host.pid_mode);
    spec.host_ipc = is_host(&host.ipc_mode);
    spec.host_uts = is_host(&host.uts_mode);
    set_security_options(spec, host)?;
    if host.masked_paths.as_ref().is_some_and(Vec::is_empty)
        && host.readonly_paths.as_ref().is_some_and(Vec::is_empty)
    {
        spec.bare_system_paths = true;
    }
    Ok(())
}

/// As the specification has it: `source:target:rwm`.
fn device(device: &DeviceMapping) -> String {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let source = device.path_on_host.clone().unwrap_or_default();
    let target = given(&device.path_in_container).unwrap_or_else(|| source.clone());
    let access = given(&device.cgroup_permissions).unwrap_or_else(|| "rwm".to_owned());
    format!("{source}:{target}:{access}")
}

/// `--security-opt`: `key=value`, or `key:value` as older clients write it.
fn set_security_options(spec: &mut ContainerSpec, host: &HostConfig) -> Result<(), EngineError> {
    for option in host.security_opt.iter().flatten() {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, "true"));
        match (key, value) {
            ("no-new-privileges", value) => spec.no_new_privileges = value != "false",
            ("seccomp", "unconfined") => spec.seccomp = Seccomp::Unconfined,
            ("seccomp", profile) => spec.seccomp = Seccomp::Profile(profile.to_owned()),
            ("systempaths", "unconfined") => spec.bare_system_paths = true,
            // There is no AppArmor and no SELinux in this system that it could be about.
            ("apparmor" | "label", _) => {}
            _ => {
                return Err(EngineError::BadRequest(format!("invalid --security-opt: {option:?}")));
            }
        }
    }
    Ok(())
}
