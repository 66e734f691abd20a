//! What is mounted in a container.

use super::{host_dev, names};
use crate::spec::{Bind, ContainerSpec};
use serde_json::{Value, json};

/// Where the small init is in a container that requests one.
pub(super) const INIT: &str = "/sbin/docker-init";

/// The mounts of a container, in their order: a later one may lie within an earlier one.
pub(super) fn of(id: &str, spec: &ContainerSpec) -> Vec<Value> {
    let bound = |target: &str| spec.binds.iter().any(|bind| bind.target == target);
    let writable = if spec.privileged { "rw" } else { "ro" };
    let shm = format!("size={}", if spec.shm_size == 0 { 64 << 20 } else { spec.shm_size });
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    if !bound("/sys") {
        mounts.push(mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", writable]));
        mounts.push(mount(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", writable],
        ));
    }
    mounts.extend(spec.tmpfs.iter().map(|text| {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let mut all = vec!["nosuid", "nodev", "noexec"];
        all.extend(options.split(',').filter(|option| !option.is_empty()));
        mount(target, "tmpfs", &all)
    }));
    mounts.extend(names::files(id, spec).iter().map(bind));
    if spec.init {
        mounts.push(bind(&Bind {
            source: crate::paths::INIT_PROGRAM.to_owned(),
            target: INIT.to_owned(),
            read_only: true,
            ..Bind::default()
        }));
    }
    let mut binds: Vec<&Bind> =
        spec.binds.iter().filter(|bind| bind.target != host_dev::TARGET).collect();
    binds.sort_by_key(|bind| bind.target.matches('/').count());
    mounts.extend(binds.into_iter().map(bind));
    mounts
}

fn mount(target: &str, kind: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": kind, "source": kind, "options": options})
}

fn bind(bind: &Bind) -> Value {
    let propagation = if bind.shared { "rshared" } else { "rslave" };
    let mut options = vec!["rbind", propagation];
    if bind.read_only {
        options.push("ro");
    }
    json!({"destination": bind.target, "type": "bind", "source": bind.source, "options": options})
}
