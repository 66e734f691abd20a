//! The first steps on the system image: mounts, /etc, modules. Each reports a failure and goes on:
//! a machine that boots degraded can still be repaired.

use corral_machine::console::log;
use corral_machine::hypervisor::Facts;
use corral_machine::modules::Index;
use corral_machine::{device_nodes, drivers, mounts};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::Path;

/// Descriptors of a process: all that the kernel admits where `fs.nr_open` is as it comes.
const MOST_FILES: u64 = 1 << 20;

/// The name that `ps` shows, an environment and limits for children, and the panic hook.
pub(super) fn become_pid_1() {
    let _ = rustix::thread::set_name(c"system-docker");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    set_limits();
    // The text of a panic begins with "panicked at" and its place.
    std::panic::set_hook(Box::new(|info| log(&format!("PID 1 {info}"))));
}

/// Every process inherits these. The kernel starts PID 1 with 1,024 descriptors (4,096 at most),
/// which databases refuse. There are no core files: they would fill the disks of containers. Docker
/// has them, as its unit defines (images/docker/compose.yml).
fn set_limits() {
    raise(Resource::Nofile, Some(MOST_FILES));
    raise(Resource::Nproc, None);
    let no_core_files = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let _ = setrlimit(Resource::Core, no_core_files);
}

/// Sets both limits. A process that may not raise the hard limit, as on a build machine, uses all
/// of what there is.
fn raise(resource: Resource, limit: Option<u64>) {
    if setrlimit(resource, Rlimit { current: limit, maximum: limit }).is_err() {
        let maximum = getrlimit(resource).maximum;
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}

/// Mounts everything that PID 1 needs; returns what could not be mounted.
pub(super) fn mount_all() -> Vec<String> {
    let mut problems: Vec<String> = mounts::SYSTEM
        .iter()
        .filter_map(|mount| mounts::mount(mount).err())
        .map(|error| format!("{error:#}"))
        .collect();
    problems.extend(mounts::share(Path::new("/")).err().map(|error| format!("{error:#}")));
    for folder in
        ["/run/corral", "/run/syslog", "/run/udev", "/run/lock", "/var/log", "/var/lib", "/var/tmp"]
    {
        let _ = fs::create_dir_all(folder);
    }
    let _ = std::os::unix::fs::symlink("../run", "/var/run");
    // The multiplexer of this devpts, as the container runtime wants it.
    let _ = fs::remove_file("/dev/ptmx");
    let _ = std::os::unix::fs::symlink("pts/ptmx", "/dev/ptmx");
    // Programs that log do so to /dev/log; the syslog container listens in /run.
    let _ = std::os::unix::fs::symlink("/run/syslog/log", "/dev/log");
    problems.extend(prepare_cgroups().err().map(|error| format!("preparing cgroups: {error}")));
    problems
}

/// What the engine needs on a host that has mounted /proc, /sys, /dev and /run itself. Returns what
/// could not be prepared.
pub(super) fn prepare_for_engine() -> Vec<String> {
    let _ = fs::create_dir_all("/run/corral");
    prepare_cgroups().err().map(|error| format!("preparing cgroups: {error}")).into_iter().collect()
}

/// The cgroup of all system containers, with every controller. It is made here so that helpers that
/// run at the same time find it.
fn prepare_cgroups() -> std::io::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let system = root.join("system");
    fs::create_dir_all(&system)?;
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
    let enable: Vec<String> =
        controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    for folder in [root, &system] {
        fs::write(folder.join("cgroup.subtree_control"), enable.join(" "))?;
    }
    Ok(())
}

/// Renders /etc. This is done again at each boot.
pub(super) fn render_etc() {
    let files: [(&str, &str); 3] = [
        ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
        ("/etc/resolv.conf", ""),
        ("/etc/hostname", "rancher\n"),
    ];
    for (path, text) in files {
        if let Err(error) = fs::write(path, text) {
            log(&format!("writing {path}: {error}"));
        }
    }
    let _ = std::os::unix::fs::symlink("/usr/share/ros/os-release", "/etc/os-release");
}

/// Modules for what is plugged in, without waiting for udev: network cards above all. Then those of
/// a guest of this hypervisor, not all of which have a device.
pub(super) fn load_modules() {
    match Index::running() {
        Ok(mut index) => {
            let mut failures = index.load_for_devices(needed_early);
            let guest = Facts::load(Path::new("/")).row().map_or(&[][..], |row| row.modules);
            failures.extend(index.load_if_useful(guest));
            failures.iter().for_each(|failure| log(failure));
            name_missing_drivers(&index);
        }
        Err(error) => log(&format!("{error:#}")),
    }
}

/// Names devices whose drivers are only in the full image, as `ros why` does later.
fn name_missing_drivers(index: &Index) {
    for concerned in drivers::load_wanted(index).unwrap_or_default() {
        log(&format!("{concerned}, which only the full image has"));
    }
}

/// Nodes of devices whose modules the kernel loads when a program opens them.
pub(super) fn make_device_nodes() {
    if let Err(error) = device_nodes::make_all(Path::new("/dev")) {
        log(&format!("{error:#}"));
    }
}

/// Everything but what only slows the boot down: udev loads those a moment later.
fn needed_early(name: &str) -> bool {
    !["btrfs", "xfs", "snd", "drm", "kvm"].iter().any(|prefix| name.starts_with(prefix))
}
