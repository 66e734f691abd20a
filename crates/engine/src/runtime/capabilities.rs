//! What a container's processes may do: Docker's default set, what is added and what is dropped.

use crate::spec::ContainerSpec;
use serde_json::{Value, json};

/// What Docker leaves to a container that requests nothing.
const DEFAULT: [&str; 14] = [
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

/// Every capability, in the order of the kernel's numbers (capabilities(7)).
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The capabilities of a container, with their prefix: of those that this machine can give at all.
pub(super) fn of(spec: &ContainerSpec) -> Vec<String> {
    let possible = possible();
    wanted(spec).into_iter().filter(|name| possible.contains(name)).collect()
}

fn wanted(spec: &ContainerSpec) -> Vec<String> {
    let plain = |name: &String| name.to_uppercase().trim_start_matches("CAP_").to_owned();
    let (add, drop): (Vec<String>, Vec<String>) =
        (spec.cap_add.iter().map(plain).collect(), spec.cap_drop.iter().map(plain).collect());
    let everything = spec.privileged || add.iter().any(|name| name == "ALL");
    let nothing = drop.iter().any(|name| name == "ALL") && !spec.privileged;
    let mut names: Vec<String> = match (everything, nothing) {
        (true, _) => ALL.map(str::to_owned).to_vec(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT.map(str::to_owned).to_vec(),
    };
    names.retain(|name| spec.privileged || !drop.contains(name));
    names.extend(add.into_iter().filter(|name| name != "ALL"));
    names.sort();
    names.dedup();
    names.iter().map(|name| format!("CAP_{name}")).collect()
}

/// Every capability, with its prefix, that this machine can give: a nested one may lack some.
pub(super) fn possible() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bound = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
    let is_possible = |number: usize| bound.is_none_or(|bound| bound >> number & 1 == 1);
    let possible = ALL.iter().enumerate().filter(|(number, _)| is_possible(*number));
    possible.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// The sets of a process. One that is not root has what execve(2) would leave it: only the bounding
/// set.
pub(super) fn sets(names: &[String], uid: u32) -> Value {
    if uid == 0 {
        json!({ "bounding": names, "effective": names, "permitted": names })
    } else {
        json!({ "bounding": names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped_as_docker_does() {
        let text = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let count = |privileged, add: &[&str], drop: &[&str]| {
            let (cap_add, cap_drop) = (text(add), text(drop));
            wanted(&ContainerSpec { privileged, cap_add, cap_drop, ..ContainerSpec::default() })
                .len()
        };
        assert_eq!(count(false, &[], &[]), 14);
        assert_eq!(count(false, &["CAP_SYS_TIME", "kill"], &["all"]), 2);
        assert_eq!(count(false, &["ALL"], &["mknod"]), 40);
        assert_eq!(count(true, &[], &["ALL"]), 41);
    }
}
