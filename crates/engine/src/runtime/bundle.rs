//! A container's specification → the OCI runtime configuration (config.json) that libcontainer builds from.
//! <https://github.com/opencontainers/runtime-spec/blob/main/config.md>

use crate::image::Embedded;
use crate::paths;
use crate::spec::{Bind, ContainerSpec};
use anyhow::{Context, Result, bail};
use rustix::fs::{FileType, stat};
use serde_json::{Value, json};
use std::fs;

/// What Docker leaves to a container that asks for nothing.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

const ALL_CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The configuration of a container.
pub(super) fn config(id: &str, spec: &ContainerSpec, image: &Embedded) -> Result<Value> {
    let hostname =
        if spec.hostname.is_empty() { id[..12.min(id.len())].to_owned() } else { spec.hostname.clone() };
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": process(id, spec, image)?,
        "root": { "path": paths::rootfs(id), "readonly": spec.read_only },
        "mounts": mounts(spec),
        "linux": linux(spec)?,
    });
    if !spec.host_uts {
        config["hostname"] = Value::String(hostname);
    }
    Ok(config)
}

fn process(id: &str, spec: &ContainerSpec, image: &Embedded) -> Result<Value> {
    let entrypoint = spec.entrypoint.as_ref().unwrap_or(&image.config.entrypoint);
    // A new entrypoint does away with the image's command, as in Docker.
    let inherited = if spec.entrypoint.is_none() { image.config.cmd.clone() } else { Vec::new() };
    let command = spec.command.clone().unwrap_or(inherited);
    let args: Vec<&String> = entrypoint.iter().chain(&command).collect();
    if args.is_empty() {
        bail!("{}: there is no command to run", spec.name);
    }
    let mut env = image.config.env.clone();
    env.extend(spec.env.iter().cloned());
    if !env.iter().any(|item| item.starts_with("HOME=")) {
        env.push("HOME=/root".to_owned());
    }
    if spec.tty {
        env.push("TERM=xterm".to_owned());
    }
    let user = if spec.user.is_empty() { json!({"uid": 0, "gid": 0}) } else { user(id, &spec.user)? };
    let cwd = if spec.working_dir.is_empty() { "/" } else { &spec.working_dir };
    Ok(json!({
        "terminal": spec.tty,
        "user": user,
        "args": args,
        "env": env,
        "cwd": cwd,
        "capabilities": capabilities(spec),
        "noNewPrivileges": spec.no_new_privileges,
        "oomScoreAdj": 0,
    }))
}

/// `NAME`, `UID`, `NAME:GROUP` or `UID:GID` by the container's own accounts.
pub(super) fn user(id: &str, text: &str) -> Result<Value> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let etc = paths::rootfs(id).join("etc");
    let field = |file: &str, name: &str, number: usize| -> Option<u32> {
        let table = fs::read_to_string(etc.join(file)).ok()?;
        let line = table.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(number)?.parse().ok()
    };
    let uid = user.parse().ok().or_else(|| field("passwd", user, 2));
    let uid = uid.with_context(|| format!("user {user} is not in the container's /etc/passwd"))?;
    let gid = match group {
        Some(group) => group.parse().ok().or_else(|| field("group", group, 2)),
        None => field("passwd", user, 3).or(Some(0)),
    };
    let gid = gid.with_context(|| {
        format!("group {} is not in the container's /etc/group", group.unwrap_or_default())
    })?;
    let groups = fs::read_to_string(etc.join("group")).unwrap_or_default();
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let listed = fields.get(3)?.split(',').any(|name| name == user);
        if listed { fields.get(2)?.parse::<u32>().ok() } else { None }
    };
    Ok(
        json!({ "uid": uid, "gid": gid, "additionalGids": groups.lines().filter_map(member).collect::<Vec<_>>() }),
    )
}

/// Every capability, as the sets of a process.
pub(super) fn all_capabilities() -> Value {
    capability_sets(&ALL_CAPABILITIES.map(str::to_owned))
}

fn capabilities(spec: &ContainerSpec) -> Value {
    let plain = |name: &String| name.to_uppercase().trim_start_matches("CAP_").to_owned();
    let (add, drop): (Vec<String>, Vec<String>) =
        (spec.cap_add.iter().map(plain).collect(), spec.cap_drop.iter().map(plain).collect());
    let everything = spec.privileged || add.iter().any(|name| name == "ALL");
    let nothing = drop.iter().any(|name| name == "ALL") && !spec.privileged;
    let mut names: Vec<String> = match (everything, nothing) {
        (true, _) => ALL_CAPABILITIES.map(str::to_owned).to_vec(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT_CAPABILITIES.map(str::to_owned).to_vec(),
    };
    names.retain(|name| spec.privileged || !drop.contains(name));
    names.extend(add.into_iter().filter(|name| name != "ALL"));
    names.sort();
    names.dedup();
    capability_sets(&names)
}

fn capability_sets(names: &[String]) -> Value {
    let names: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
    json!({ "bounding": names, "effective": names, "permitted": names })
}

fn mounts(spec: &ContainerSpec) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let bound = |target: &str| spec.binds.iter().any(|bind| bind.target == target);
    let writable = if spec.privileged { "rw" } else { "ro" };
    let mut mounts = vec![mount("/proc", "proc", &["nosuid", "noexec", "nodev"])];
    mounts.push(mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]));
    mounts.push(mount(
        "/dev/pts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ));
    mounts.push(mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]));
    mounts.push(mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    if !bound("/sys") {
        mounts.push(mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", writable]));
        mounts.push(mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", writable]));
    }
    if !bound("/run") {
        mounts.push(mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]));
    }
    mounts.extend(spec.tmpfs.iter().map(|text| {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let mut all = vec!["nosuid", "nodev", "mode=755"];
        all.extend(options.split(',').filter(|option| !option.is_empty()));
        mount(target, "tmpfs", &all)
    }));
    mounts.extend(spec.binds.iter().filter(|bind| bind.target != super::device_tree::TARGET).map(bind));
    mounts
}

fn bind(bind: &Bind) -> Value {
    let propagation = if bind.shared { "rshared" } else { "rslave" };
    let mut options = vec!["rbind", propagation];
    if bind.read_only {
        options.push("ro");
    }
    json!({"destination": bind.target, "type": "bind", "source": bind.source, "options": options})
}

fn linux(spec: &ContainerSpec) -> Result<Value> {
    let mut namespaces = vec![json!({"type": "mount"})];
    let private = [
        ("network", !spec.host_network),
        ("pid", !spec.host_pid),
        ("ipc", !spec.host_ipc),
        ("uts", !spec.host_uts),
        ("cgroup", !spec.binds.iter().any(|bind| bind.target == "/sys")),
    ];
    namespaces.extend(private.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| json!({"type": name})));
    let devices = spec.devices.iter().map(|path| device(path)).collect::<Result<Vec<_>>>()?;
    let mut rules = vec![json!({"allow": spec.privileged, "access": "rwm"})];
    rules.extend(devices.iter().flatten().map(|device| {
        json!({"allow": true, "type": device["type"], "major": device["major"], "minor": device["minor"], "access": "rwm"})
    }));
    let mut resources = json!({ "devices": rules });
    if spec.memory > 0 {
        resources["memory"] = json!({ "limit": spec.memory });
    }
    let shared = spec.binds.iter().any(|bind| bind.shared);
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": format!("{}/{}", paths::CGROUP, spec.name),
        "resources": resources,
        "rootfsPropagation": if shared { "shared" } else { "slave" },
        "devices": devices.into_iter().flatten().collect::<Vec<_>>(),
    });
    if !spec.privileged {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    Ok(linux)
}

/// A device node of the host as the container gets it. One that this machine does not have is left out.
fn device(path: &str) -> Result<Option<Value>> {
    let source = path.split(':').next().unwrap_or(path);
    let Ok(data) = stat(source) else { return Ok(None) };
    let kind = match FileType::from_raw_mode(data.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => bail!("{source} is not a device"),
    };
    let (major, minor) = (rustix::fs::major(data.st_rdev), rustix::fs::minor(data.st_rdev));
    let target = path.split(':').nth(1).unwrap_or(source);
    Ok(Some(json!({
        "path": target, "type": kind, "major": major, "minor": minor,
        "fileMode": data.st_mode & 0o7777, "uid": data.st_uid, "gid": data.st_gid,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped_as_docker_does() {
        let names = |spec: &ContainerSpec| capabilities(spec)["bounding"].as_array().unwrap().len();
        let text = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let spec = |privileged, add: &[&str], drop: &[&str]| ContainerSpec {
            privileged,
            cap_add: text(add),
            cap_drop: text(drop),
            ..ContainerSpec::default()
        };
        assert_eq!(names(&spec(false, &[], &[])), 14);
        assert_eq!(names(&spec(false, &["CAP_SYS_TIME", "kill"], &["all"])), 2);
        assert_eq!(names(&spec(false, &["ALL"], &["mknod"])), 40);
        assert_eq!(names(&spec(true, &[], &["ALL"])), 41);
    }
}
