//! A container's specification → the OCI runtime configuration (config.json) that libcontainer
//! builds from.
//! <https://github.com/opencontainers/runtime-spec/blob/main/config.md>

use super::account::{self, Account};
use super::mounts::{self, INIT};
use super::names::hostname;
use super::{capabilities, devices, seccomp};
use crate::image::metadata::Image;
use crate::paths;
use crate::protocol::Join;
use crate::spec::{ContainerSpec, Limits, Ulimit};
use anyhow::{Result, bail};
use serde_json::{Value, json};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The configuration of a container.
pub(super) fn config(id: &str, spec: &ContainerSpec, image: &Image, join: &Join) -> Result<Value> {
    let capabilities = capabilities::of(spec);
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": process(id, spec, image, &capabilities)?,
        "root": { "path": paths::rootfs(id), "readonly": spec.read_only },
        "mounts": mounts::of(id, spec),
        "linux": linux(id, spec, join)?,
    });
    if !spec.host_uts {
        config["hostname"] = Value::String(hostname(id, spec));
        if !spec.domainname.is_empty() {
            config["domainname"] = Value::String(spec.domainname.clone());
        }
    }
    if let Some(profile) = seccomp::profile(spec, &capabilities)? {
        config["linux"]["seccomp"] = profile;
    }
    Ok(config)
}

fn process(
    id: &str,
    spec: &ContainerSpec,
    image: &Image,
    capabilities: &[String],
) -> Result<Value> {
    let user = if spec.user.is_empty() { &image.config.user } else { &spec.user };
    let account = account::find(id, user, &spec.group_add)?;
    let cwd =
        [&spec.working_dir, &image.config.working_dir].into_iter().find(|path| !path.is_empty());
    let mut process = json!({
        "terminal": spec.tty,
        "user": user_value(&account),
        "args": arguments(spec, image)?,
        "env": environment(id, spec, image, &account),
        "cwd": cwd.map_or("/", String::as_str),
        "capabilities": capabilities::sets(capabilities, account.uid),
        "oomScoreAdj": spec.oom_score_adj,
        "rlimits": spec.ulimits.iter().map(rlimit).collect::<Vec<_>>(),
    });
    if spec.no_new_privileges {
        // libcontainer checks whether the key is present, not its value. With `false` it would load
        // the seccomp profile too late.
        process["noNewPrivileges"] = Value::Bool(true);
    }
    Ok(process)
}

/// An account as a process has it.
pub(super) fn user_value(account: &Account) -> Value {
    json!({"uid": account.uid, "gid": account.gid, "additionalGids": account.groups})
}

fn arguments(spec: &ContainerSpec, image: &Image) -> Result<Vec<String>> {
    let entrypoint = spec.entrypoint.as_ref().unwrap_or(&image.config.entrypoint);
    // A new entrypoint does away with the image's command, as in Docker.
    let inherited = if spec.entrypoint.is_none() { image.config.cmd.clone() } else { Vec::new() };
    let command = spec.command.clone().unwrap_or(inherited);
    let mut args: Vec<String> = entrypoint.iter().chain(&command).cloned().collect();
    if args.is_empty() {
        bail!("{}: no command specified", spec.name);
    }
    if spec.init {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    Ok(args)
}

/// The variables of the image, then those of the container; a later value of a variable replaces an
/// earlier one.
fn environment(id: &str, spec: &ContainerSpec, image: &Image, account: &Account) -> Vec<String> {
    let mut all = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", hostname(id, spec))];
    if spec.tty {
        all.push("TERM=xterm".to_owned());
    }
    all.push(format!("HOME={}", account.home));
    let linked = spec.links.iter().flat_map(|link| &link.env);
    for item in image.config.env.iter().chain(linked).chain(&spec.env) {
        let name = item.split('=').next().unwrap_or_default();
        match all.iter_mut().find(|known| known.split('=').next() == Some(name)) {
            Some(known) => item.clone_into(known),
            None => all.push(item.clone()),
        }
    }
    // A name without a value takes the variable away.
    all.retain(|item| item.contains('='));
    all
}

fn rlimit(limit: &Ulimit) -> Value {
    let name = format!("RLIMIT_{}", limit.name.to_uppercase());
    json!({"type": name, "soft": limit.soft, "hard": limit.hard})
}

fn linux(id: &str, spec: &ContainerSpec, join: &Join) -> Result<Value> {
    let devices = devices::of(spec)?;
    let mut resources = json!({ "devices": devices::rules(spec, &devices) });
    resources_of(&spec.limits, &mut resources);
    let shared = spec.binds.iter().any(|bind| bind.shared);
    let mut linux = json!({
        "namespaces": namespaces(spec, join),
        "cgroupsPath": format!("{}/{id}", paths::CGROUP),
        "resources": resources,
        "rootfsPropagation": if shared { "shared" } else { "slave" },
        "devices": devices,
        "sysctl": spec.sysctls,
    });
    if !spec.privileged && !spec.bare_system_paths {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    Ok(linux)
}

fn namespaces(spec: &ContainerSpec, join: &Join) -> Vec<Value> {
    let mut all = vec![json!({"type": "mount"})];
    let mut add = |kind: &str, file: &str, is_hosts: bool, pid: Option<i32>| {
        if let Some(pid) = pid {
            all.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
        } else if !is_hosts {
            all.push(json!({"type": kind}));
        }
    };
    add("network", "net", spec.host_network, join.network);
    add("pid", "pid", spec.host_pid, join.pid);
    add("ipc", "ipc", spec.host_ipc, join.ipc);
    add("uts", "uts", spec.host_uts, None);
    add("cgroup", "cgroup", spec.binds.iter().any(|bind| bind.target == "/sys"), None);
    all
}

fn resources_of(limits: &Limits, resources: &mut Value) {
    let mut memory = json!({});
    if limits.memory > 0 {
        memory["limit"] = json!(limits.memory);
    }
    if limits.memory_reservation > 0 {
        memory["reservation"] = json!(limits.memory_reservation);
    }
    if limits.memory_swap != 0 && limits.memory > 0 {
        memory["swap"] = json!(limits.memory_swap);
    }
    let mut cpu = json!({});
    if limits.cpu_shares > 0 {
        cpu["shares"] = json!(limits.cpu_shares);
    }
    if limits.cpu_quota > 0 {
        cpu["quota"] = json!(limits.cpu_quota);
        cpu["period"] = json!(if limits.cpu_period == 0 { 100_000 } else { limits.cpu_period });
    }
    for (key, list) in [("cpus", &limits.cpus), ("mems", &limits.mems)] {
        if !list.is_empty() {
            cpu[key] = json!(list);
        }
    }
    for (key, value) in [("memory", memory), ("cpu", cpu)] {
        if value.as_object().is_some_and(|map| !map.is_empty()) {
            resources[key] = value;
        }
    }
    if limits.pids > 0 {
        resources["pids"] = json!({ "limit": limits.pids });
    }
}
