//! Containers as the API shows them.

use crate::network::networks::Networks;
use crate::shared::Shared;
use corral_engine::paths;
use corral_engine::spec::{
    Bind, ContainerSpec, Endpoint, HealthState, Limits, Link, LogOptions, Snapshot, Status,
};
use corral_engine::time;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Shown where a client names no runtime.
const DEFAULT_RUNTIME: &str = "libcontainer";

/// A row of `GET /containers/json`.
pub(super) fn summary(container: &Snapshot, networks: &Networks) -> Value {
    let (spec, status) = (&container.spec, &container.status);
    json!({
        "Id": container.id, "Names": [format!("/{}", spec.name)], "Image": spec.image,
        "ImageID": spec.image_id, "Command": command(spec).join(" "),
        "Created": status.created.as_secs(), "Ports": port_list(spec, status),
        "Labels": spec.labels, "State": status.word(), "Status": spoken_status(status),
        "HostConfig": {"NetworkMode": network_mode(spec)},
        "NetworkSettings": {"Networks": endpoints(spec, status, networks)},
        "Mounts": spec.binds.iter().map(mount).collect::<Vec<_>>(),
    })
}

/// `GET /containers/{id}/json`.
pub(super) fn inspect(container: &Snapshot, shared: &Shared) -> Value {
    let (spec, status) = (&container.spec, &container.status);
    let record = shared.records.get(&container.id).unwrap_or_default();
    let command = command(spec);
    let folder = paths::container(&container.id);
    json!({
        "Id": container.id, "Name": format!("/{}", spec.name),
        "Created": time(Some(status.created)),
        "Path": command.first().cloned().unwrap_or_default(),
        "Args": command.get(1..).unwrap_or_default(),
        "Image": if spec.image_id.is_empty() { &spec.image } else { &spec.image_id },
        "Platform": "linux", "Driver": "overlay2", "RestartCount": status.restarts,
        "LogPath": paths::log(&container.id), "HostnamePath": folder.join("hostname"),
        "HostsPath": folder.join("hosts"), "ResolvConfPath": folder.join("resolv.conf"),
        "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": null,
        "State": state(container, shared),
        "HostConfig": shown_host_config(record.host_config, spec),
        "Config": overlaid(record.config, config(spec)),
        "GraphDriver": {"Name": "overlay2", "Data": {
            "UpperDir": paths::overlay(&container.id).join("diff"),
            "MergedDir": paths::rootfs(&container.id),
        }},
        "NetworkSettings": network_settings(spec, status, &shared.networks),
        "Mounts": spec.binds.iter().map(mount).collect::<Vec<_>>(),
    })
}

fn state(container: &Snapshot, shared: &Shared) -> Value {
    let status = &container.status;
    let word = status.word();
    let mut state = json!({
        "Status": word, "Running": !status.is_down(),
        "Paused": status.paused, "Restarting": word == "restarting",
        "OOMKilled": status.oom_killed, "Dead": false, "Pid": status.pid.unwrap_or(0),
        "ExitCode": status.exit_code, "Error": status.error.as_deref().unwrap_or_default(),
        "StartedAt": time(status.started), "FinishedAt": time(status.finished),
    });
    if container.spec.health.as_ref().is_some_and(|health| health.command().is_some()) {
        state["Health"] = shared.checks.to_json(container);
    }
    state
}

/// As the client wrote it where this engine keeps it in another form.
fn shown_host_config(requested: Value, spec: &ContainerSpec) -> Value {
    let log = log_view(&requested["LogConfig"], &spec.log);
    let runtime = requested["Runtime"].as_str().filter(|name| !name.is_empty());
    let runtime = runtime.unwrap_or(DEFAULT_RUNTIME).to_owned();
    let mut shown = overlaid(requested, host_config(spec));
    shown["LogConfig"] = log;
    shown["Runtime"] = json!(runtime);
    if !spec.links.is_empty() {
        let line = |link: &Link| format!("/{}:/{}/{}", link.container, spec.name, link.alias);
        shown["Links"] = json!(spec.links.iter().map(line).collect::<Vec<_>>());
    }
    shown
}

/// What the client requested, with the active values over it.
fn overlaid(requested: Value, active: Value) -> Value {
    let mut all = match requested {
        Value::Object(requested) => requested,
        _ => Map::new(),
    };
    if let Value::Object(active) = active {
        all.extend(active);
    }
    Value::Object(all)
}

fn host_config(spec: &ContainerSpec) -> Value {
    let limits = &spec.limits;
    let binds = spec.binds.iter().filter(|bind| bind.volume.is_none());
    let mut value = json!({
        "Binds": binds.map(bind_text).collect::<Vec<_>>(), "NetworkMode": network_mode(spec),
        "Privileged": spec.privileged, "ReadonlyRootfs": spec.read_only,
        "AutoRemove": spec.auto_remove,
        "PidMode": shared_mode(spec.host_pid, &spec.pid_of),
        "IpcMode": shared_mode(spec.host_ipc, &spec.ipc_of),
        "UTSMode": if spec.host_uts { "host" } else { "" }, "UsernsMode": "",
        "CapAdd": list_or_null(&spec.cap_add), "CapDrop": list_or_null(&spec.cap_drop),
        "ExtraHosts": list_or_null(&spec.extra_hosts), "GroupAdd": list_or_null(&spec.group_add),
        "Dns": spec.dns.servers, "DnsSearch": spec.dns.search, "DnsOptions": spec.dns.options,
        "ShmSize": if spec.shm_size == 0 { 64 << 20 } else { spec.shm_size },
        "OomScoreAdj": spec.oom_score_adj, "PortBindings": port_bindings(spec), "Init": spec.init,
        "RestartPolicy": {"Name": spec.restart.name(), "MaximumRetryCount": spec.restart.limit()},
    });
    if let (Value::Object(all), Value::Object(limits)) = (&mut value, limits_view(limits)) {
        all.extend(limits);
    }
    value
}

/// As Docker has it: what the client wrote. Otherwise options are text, and those that were not set
/// are left out.
fn log_view(requested: &Value, log: &LogOptions) -> Value {
    let mut options = requested["Config"].as_object().cloned().unwrap_or_default();
    let kind = requested["Type"].as_str().filter(|kind| !kind.is_empty());
    if let Some(kind) = kind {
        return json!({"Type": kind, "Config": options});
    }
    if log.max_bytes > 0 {
        options.entry("max-size").or_insert_with(|| json!(log.max_bytes.to_string()));
    }
    if log.max_files > 0 {
        options.entry("max-file").or_insert_with(|| json!(log.max_files.to_string()));
    }
    json!({"Type": if log.none { "none" } else { "json-file" }, "Config": options})
}

fn limits_view(limits: &Limits) -> Value {
    json!({
        "Memory": limits.memory, "MemoryReservation": limits.memory_reservation,
        "MemorySwap": limits.memory_swap, "CpuQuota": limits.cpu_quota,
        "CpuPeriod": limits.cpu_period, "CpuShares": limits.cpu_shares,
        "CpusetCpus": limits.cpus, "CpusetMems": limits.mems,
        "PidsLimit": if limits.pids > 0 { json!(limits.pids) } else { Value::Null },
    })
}

fn config(spec: &ContainerSpec) -> Value {
    let mut config = json!({
        "Image": spec.image, "Cmd": spec.command, "Entrypoint": spec.entrypoint, "Env": spec.env,
        "Labels": spec.labels, "Tty": spec.tty, "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once, "User": spec.user, "WorkingDir": spec.working_dir,
        "Hostname": spec.hostname, "Domainname": spec.domainname,
        "StopSignal": spec.stop_signal, "StopTimeout": spec.stop_timeout.seconds(),
    });
    if let Some(health) = &spec.health {
        config["Healthcheck"] = json!({
            "Test": health.test, "Interval": nanos(health.interval),
            "Timeout": nanos(health.timeout), "Retries": health.retries,
            "StartPeriod": nanos(health.start_period),
            "StartInterval": nanos(health.start_interval),
        });
    }
    config
}

fn network_settings(spec: &ContainerSpec, status: &Status, networks: &Networks) -> Value {
    let endpoints = endpoints(spec, status, networks);
    let first = spec.endpoints.first().filter(|_| status.is_up());
    let of = |show: fn(&Endpoint) -> String| first.map(show).unwrap_or_default();
    let namespace = status.pid.map(|pid| format!("/proc/{pid}/ns/net"));
    let v6 = first.and_then(|first| first.v6);
    json!({
        "Networks": endpoints,
        "Ports": if status.is_up() { port_bindings_all(spec) } else { json!({}) },
        "Bridge": "", "SandboxID": "", "SandboxKey": namespace.unwrap_or_default(),
        "IPAddress": of(|first| first.address.to_string()),
        "Gateway": of(|first| first.gateway.to_string()),
        "MacAddress": of(|first| first.mac.to_string()),
        "IPPrefixLen": first.map_or(0, |first| first.prefix),
        "GlobalIPv6Address": v6.map(|v6| v6.address.to_string()).unwrap_or_default(),
        "IPv6Gateway": v6.map(|v6| v6.gateway.to_string()).unwrap_or_default(),
        "GlobalIPv6PrefixLen": v6.map_or(0, |v6| v6.prefix),
    })
}

/// The networks that a container is in, by name.
fn endpoints(spec: &ContainerSpec, status: &Status, networks: &Networks) -> Value {
    let mut all = Map::new();
    if spec.endpoints.is_empty() && spec.network_of.is_empty() {
        let name = if spec.host_network { "host" } else { "none" };
        let id = networks.find(name).map(|network| network.id).unwrap_or_default();
        all.insert(
            name.to_owned(),
            json!({
                "NetworkID": id, "EndpointID": "", "IPAddress": "", "Gateway": "",
                "MacAddress": "",
            }),
        );
    }
    for endpoint in &spec.endpoints {
        let mut names = endpoint.aliases.clone();
        names.push(spec.name.clone());
        all.insert(endpoint.network.clone(), endpoint_view(endpoint, status.is_up(), &names));
    }
    Value::Object(all)
}

fn endpoint_view(endpoint: &Endpoint, is_up: bool, names: &[String]) -> Value {
    let shown = |address: Ipv4Addr| if is_up { address.to_string() } else { String::new() };
    let v6 = endpoint.v6.filter(|_| is_up);
    let of_v6 = |address: Option<Ipv6Addr>| address.map(|it| it.to_string()).unwrap_or_default();
    let line = |(container, alias): &(String, String)| format!("{container}:{alias}");
    let links: Vec<String> = endpoint.links.iter().map(line).collect();
    let options = &endpoint.requested.driver_options;
    json!({
        "IPAMConfig": requested_addresses(endpoint), "Links": list_or_null(&links),
        "Aliases": list_or_null(&endpoint.aliases), "DNSNames": names,
        "NetworkID": endpoint.network_id, "EndpointID": endpoint.endpoint_id,
        "MacAddress": endpoint.mac,
        "IPAddress": shown(endpoint.address), "Gateway": shown(endpoint.gateway),
        "IPPrefixLen": if is_up { endpoint.prefix } else { 0 },
        "IPv6Gateway": of_v6(v6.map(|v6| v6.gateway)),
        "GlobalIPv6Address": of_v6(v6.map(|v6| v6.address)),
        "GlobalIPv6PrefixLen": v6.map_or(0, |v6| v6.prefix),
        "DriverOpts": if options.is_empty() { Value::Null } else { json!(options) },
    })
}

/// Null where the client left both addresses to the engine.
fn requested_addresses(endpoint: &Endpoint) -> Value {
    let requested = &endpoint.requested;
    let mut shown = Map::new();
    if let Some(address) = requested.address {
        shown.insert("IPv4Address".to_owned(), json!(address));
    }
    if let Some(address) = requested.address_v6 {
        shown.insert("IPv6Address".to_owned(), json!(address));
    }
    if shown.is_empty() { Value::Null } else { Value::Object(shown) }
}

fn network_mode(spec: &ContainerSpec) -> String {
    match (spec.host_network, spec.network_of.as_str(), spec.endpoints.first()) {
        (true, ..) => "host".to_owned(),
        (false, "", Some(first)) if first.network == "bridge" => "default".to_owned(),
        (false, "", Some(first)) => first.network.clone(),
        (false, "", None) => "none".to_owned(),
        (false, id, _) => format!("container:{id}"),
    }
}

fn shared_mode(is_hosts: bool, of: &str) -> String {
    match (is_hosts, of) {
        (true, _) => "host".to_owned(),
        (false, "") => String::new(),
        (false, id) => format!("container:{id}"),
    }
}

fn list_or_null(list: &[String]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// `80/tcp` → where the host publishes it; the chosen port where the client set none.
fn port_bindings(spec: &ContainerSpec) -> Value {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in &spec.ports {
        let binding = json!({"HostIp": port.host_ip, "HostPort": port.host_port.to_string()});
        all.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(binding);
    }
    json!(all)
}

/// The bindings that take effect.
fn port_bindings_all(spec: &ContainerSpec) -> Value {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in spec.ports.iter().filter(|_| !spec.endpoints.is_empty()) {
        let address = if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip };
        let binding = json!({"HostIp": address, "HostPort": port.host_port.to_string()});
        all.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(binding);
    }
    json!(all)
}

fn port_list(spec: &ContainerSpec, status: &Status) -> Vec<Value> {
    let shown = spec.ports.iter().filter(|_| status.is_up() && !spec.endpoints.is_empty());
    shown
        .map(|port| {
            let address = if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip };
            json!({
                "IP": address, "PrivatePort": port.container_port, "PublicPort": port.host_port,
                "Type": port.protocol,
            })
        })
        .collect()
}

/// A time since 1970; Docker writes its zero for one that never was.
pub(super) fn time(time: Option<Duration>) -> String {
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time::rfc3339)
}

fn nanos(time: Option<Duration>) -> u64 {
    time.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0)
}

fn spoken_status(status: &Status) -> String {
    let age =
        |since: Option<Duration>| spoken(time::now().saturating_sub(since.unwrap_or_default()));
    let health = match status.health {
        None => String::new(),
        Some(HealthState::Starting) => " (health: starting)".to_owned(),
        Some(health) => format!(" ({})", health.word()),
    };
    match status.word() {
        "running" => format!("Up {}{health}", age(status.started)),
        "paused" => format!("Up {} (Paused)", age(status.started)),
        "exited" => format!("Exited ({}) {} ago", status.exit_code, age(status.finished)),
        "restarting" => format!("Restarting ({}) {} ago", status.exit_code, age(status.finished)),
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

fn bind_text(bind: &Bind) -> String {
    let mode = if bind.read_only { ":ro" } else { "" };
    format!("{}:{}{mode}", bind.source, bind.target)
}

fn mount(bind: &Bind) -> Value {
    let propagation = if bind.shared { "rshared" } else { "rprivate" };
    let mode = if bind.read_only { "ro" } else { "" };
    match &bind.volume {
        Some(name) => json!({
            "Type": "volume", "Name": name, "Source": bind.source, "Destination": bind.target,
            "Driver": "local", "Mode": mode, "RW": !bind.read_only, "Propagation": "",
        }),
        None => json!({
            "Type": "bind", "Source": bind.source, "Destination": bind.target, "Mode": mode,
            "RW": !bind.read_only, "Propagation": propagation,
        }),
    }
}
