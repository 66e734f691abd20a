//! Where the engine keeps things.

use std::path::{Path, PathBuf};

/// PID 1's control socket: root only.
pub const CONTROL_SOCKET: &str = "/run/corral/control.sock";
/// The Docker Engine API of the system.
pub const API_SOCKET: &str = "/run/system-docker.sock";
/// Images and their layers inside the system image.
pub(crate) const EMBEDDED: &str = "/usr/share/ros";
/// Where libcontainer keeps its own state, one folder a container.
pub(crate) const RUNTIME_STATE: &str = "/run/corral/runtime";
/// The cgroup of all system containers.
pub const CGROUP: &str = "/system";

/// The files of `write_files` for containers, one folder a container: index.json and the contents.
pub const FILES: &str = "/run/corral/files";
/// As long as this file is there, what containers write is shown on the console too.
pub const SHOW_LOGS: &str = "/run/corral/show-logs";
/// The active configuration, and the errors in its sources.
pub const CONFIG: &str = "/run/corral/config.json";

/// The authorities to trust, if the configuration has others than the image.
pub const CERTIFICATES: &str = "/run/corral/ca-certificates.crt";
/// The authorities that the system image trusts.
pub const CERTIFICATES_OF_IMAGE: &str =
    "/usr/share/ros/layers/base/etc/ssl/certs/ca-certificates.crt";

/// What of containers and images could not be read when the engine daemon started, a line each. The
/// file is absent if all could be read.
pub const DAMAGED: &str = "/run/corral/engine-damaged";

/// The default seccomp profile.
pub(crate) const SECCOMP: &str = "/usr/share/ros/seccomp.json";
/// The init of containers that request one.
pub(crate) const INIT_PROGRAM: &str = "/usr/share/ros/layers/docker/usr/bin/tini-static";
/// busybox of the system image, for PID 1: it needs no library.
pub const BUSYBOX: &str = "/usr/share/ros/layers/base/usr/bin/busybox";
/// What the engine keeps on the state disk.
pub const STORE: &str = "/var/lib/system-docker";

/// The bundle of a container: config.json.
pub fn bundle(id: &str) -> PathBuf {
    Path::new("/run/corral/bundles").join(id)
}

/// Upper folder, work folder and mounted root of a container.
pub fn overlay(id: &str) -> PathBuf {
    Path::new(STORE).join("overlay").join(id)
}

/// The file system of a container that persists when the container goes, by its name.
pub fn persistent(name: &str) -> PathBuf {
    Path::new(STORE).join("kept").join(name)
}

/// The root file system of a container while it is mounted.
pub fn rootfs(id: &str) -> PathBuf {
    overlay(id).join("merged")
}

/// What the programs of the boot wrote, a file for each, as in RancherOS.
pub const BOOT_LOGS: &str = "/var/log/boot";
/// Number of the last record of the kernel's log that is in `init.log` of this boot.
pub const INIT_LOGGED: &str = "/run/corral/init-logged";
/// The output of the user's Docker.
pub const DOCKER_LOG: &str = "/var/log/docker.log";
/// The output of the engine daemon.
pub const DAEMON_LOG: &str = "/var/log/system-docker.log";

/// The log of a container, in Docker's json-file format.
pub fn log(id: &str) -> PathBuf {
    container(id).join(format!("{id}-json.log"))
}

/// What is kept of a container: its record, its log, the files of its network.
pub fn container(id: &str) -> PathBuf {
    Path::new(STORE).join("containers").join(id)
}

/// What is kept of a container that a client made: it is there after a boot.
pub fn record(id: &str) -> PathBuf {
    container(id).join("container.json")
}

/// A container's cgroup.
pub fn cgroup(id: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(CGROUP.trim_start_matches('/')).join(id)
}
