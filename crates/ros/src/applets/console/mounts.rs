//! `mounts` of the configuration, in the console: file systems, binds, swap, NFS. No mount delays a
//! login. A server that does not answer delays Docker until a timeout, or with `nofail` not at all.

use crate::applets::failures;
use crate::applets::netconf::addresses;
use anyhow::{Context, Result, bail};
use corral_config::model::Mount;
use corral_machine::console::log;
use corral_machine::{block, deadline, mounts, program};
use corral_resolve::effective::load_config;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a mount that nothing waits for waits itself: for an address, or for its disk.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Between two attempts while the machine has no address yet.
const PAUSE: Duration = Duration::from_millis(500);
/// Options for us (or for other readers of fstab), not for mount(8).
const OURS: [&str; 5] = ["auto", "noauto", "nofail", "_netdev", "defaults"];

/// What a login needs: a mount over it, or over a parent folder, would keep the owner out.
const NEEDED: [&str; 13] = [
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/run/corral",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/sbin",
    "/usr/share/ros",
    "/var/lib/rancher/conf",
];
/// Where the system has mounts of its own, also for containers.
const TAKEN: [&str; 7] = ["/home", "/media", "/mnt", "/opt", "/tmp", "/var/lib/docker", "/var/log"];

/// What a mount on the network may have to wait for.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// DHCP and the services that log in to disks of a server may be slower.
    AtBoot,
    /// All of that has had its time.
    Later,
}

/// Makes all mounts. Those on the network run in parallel; with `nofail`, in background processes
/// that are not waited for.
pub(super) fn make_all(wanted: &[Mount], when: When) -> Result<()> {
    let (sender, results) = mpsc::channel();
    let mut failures = Vec::new();
    for (number, mount) in wanted.iter().enumerate().filter(|(_, mount)| !has(mount, "noauto")) {
        let result = if !is_on_network(mount) {
            make(mount, Instant::now() + TIMEOUT)
        } else if has(mount, "nofail") {
            make_in_background(number)
        } else {
            let (mount, sender) = (mount.clone(), sender.clone());
            thread::spawn(move || {
                let made = make_on_network(&mount, when, TIMEOUT);
                let _ = sender.send(made.map_err(|error| describe(&mount, &error)));
            });
            Ok(())
        };
        failures.extend(result.err().map(|error| describe(mount, &error)));
    }
    drop(sender);
    failures.extend(results.iter().filter_map(Result::err));
    failures::as_error(&failures)
}

fn make_in_background(number: usize) -> Result<()> {
    let mut command = Command::new("/usr/bin/ros");
    command.args(["console-mount", &number.to_string()]);
    // It may take any time, so it must keep no descriptor of the caller open.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop).context("starting it in the background")
}

/// `ros console-mount NUMBER`: one mount of the configuration.
pub(crate) fn make_one(number: usize) -> Result<()> {
    let config = load_config()?;
    let mount = config.mounts.get(number).context("there is no mount of this number")?;
    make_on_network(mount, When::AtBoot, LONGEST_WAIT)
        .inspect_err(|error| log(&format!("mounts: {}", describe(mount, error))))
}

fn describe(mount: &Mount, error: &anyhow::Error) -> String {
    format!("{} on {}: {error:#}", mount.device, mount.target)
}

fn has(mount: &Mount, option: &str) -> bool {
    mount.options.iter().any(|other| other == option)
}

fn is_on_network(mount: &Mount) -> bool {
    ["nfs", "nfs4", "cifs"].contains(&mount.kind.as_str()) || has(mount, "_netdev")
}

/// A mount that fails before the machine has an address, or its disk, is tried again.
fn make_on_network(mount: &Mount, when: When, wait: Duration) -> Result<()> {
    let end = Instant::now() + wait;
    if mount.kind != "swap" {
        let target = Path::new(&mount.target);
        // No later attempt would be allowed.
        check_target(target)?;
        // Its disk is not read: that of a dead server may not answer.
        if mounts::is_mount_point(target) {
            return Ok(());
        }
    }
    loop {
        // An address that comes during the attempt may come too late for it.
        let is_early = match when {
            When::AtBoot => addresses::all().is_empty() || lacks_disk(&mount.device),
            When::Later => addresses::all().is_empty(),
        };
        // Its disk may have come just now.
        match make(mount, Instant::now() + TIMEOUT) {
            // Nothing reports that a server can be reached.
            Err(_) if is_early && Instant::now() < end => deadline::pause(PAUSE),
            result => return result,
        }
    }
}

/// Is this a disk that is not there? A server's folder is no disk.
fn lacks_disk(device: &str) -> bool {
    let is_disk = ["LABEL=", "UUID=", "/dev/"].iter().any(|begin| device.starts_with(begin));
    is_disk && block::resolve(device).is_empty()
}

fn make(mount: &Mount, end: Instant) -> Result<()> {
    if mount.kind == "swap" {
        return make_swap(mount, end);
    }
    let target = Path::new(&mount.target);
    check_target(target)?;
    if mounts::is_mount_point(target) {
        return Ok(());
    }
    let is_bind = has(mount, "bind") || has(mount, "rbind");
    prepare_target(mount, target, is_bind)?;
    let options: Vec<&str> =
        mount.options.iter().map(String::as_str).filter(|option| !OURS.contains(option)).collect();
    let mut command = program::of_system("/usr/bin/mount");
    if !is_bind && mount.kind != "none" {
        command.args(["-t", &mount.kind]);
    }
    if !options.is_empty() {
        command.arg("-o").arg(options.join(","));
    }
    command.arg(&mount.device).arg(target);
    run(command, end)
}

/// Rejects a target that would hide a part of the system.
fn check_target(target: &Path) -> Result<()> {
    if !target.is_absolute() {
        bail!("the target must be an absolute path");
    }
    let real = fs::canonicalize(target).unwrap_or_else(|_| target.components().collect());
    if let Some(needed) = NEEDED.iter().find(|needed| Path::new(needed).starts_with(&real)) {
        bail!(
            "not mounted: it would hide {needed}, which a login needs; use another target, such as \
             /mnt/NAME"
        );
    }
    if TAKEN.iter().any(|taken| Path::new(taken) == real) {
        bail!("not mounted: the system has a mount of its own there; use a folder below it");
    }
    Ok(())
}

/// A bind of a file needs an existing file as its target.
fn prepare_target(mount: &Mount, target: &Path, is_bind: bool) -> Result<()> {
    if is_bind && Path::new(&mount.device).is_file() {
        if !target.exists() {
            fs::create_dir_all(target.parent().context("a target without a folder")?)?;
            fs::File::create(target)?;
        }
        return Ok(());
    }
    fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))
}

fn make_swap(mount: &Mount, end: Instant) -> Result<()> {
    let device = match block::resolve(&mount.device).as_slice() {
        [] => bail!("no such device"),
        [device] => fs::canonicalize(device)?,
        several => bail!("it is ambiguous: {several:?}"),
    };
    let active = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if active
        .lines()
        .any(|line| line.split_whitespace().next().map(PathBuf::from) == Some(device.clone()))
    {
        return Ok(());
    }
    let mut command = program::of_system("/usr/sbin/swapon");
    if let Some(priority) = mount.options.iter().find_map(|option| option.strip_prefix("pri=")) {
        command.args(["-p", priority]);
    }
    command.arg(device);
    run(command, end)
}

/// Runs a program up to its deadline.
fn run(mut command: Command, end: Instant) -> Result<()> {
    program::output(&mut command, &[], end)?.success().map(drop)
}

#[cfg(test)]
mod tests {
    use super::{check_target, lacks_disk};
    use std::path::Path;

    #[test]
    fn only_a_disk_that_is_not_there_is_waited_for() {
        assert!(lacks_disk("/dev/no-such-disk") && lacks_disk("LABEL=no-such-label"));
        assert!(!lacks_disk("nas.example.com:/media") && !lacks_disk("//nas/share"));
    }

    #[test]
    fn no_mount_hides_what_a_login_needs() {
        for target in ["/", "/etc", "/run", "/usr", "/var", "//etc/", "/tmp/../etc", "/home"] {
            assert!(check_target(Path::new(target)).is_err(), "{target}");
        }
        assert!(check_target(Path::new("mnt/data")).is_err(), "it is relative");
        for target in [
            "/mnt/data",
            "/home/data",
            "/run/mine",
            "/usr/local",
            "/etc/mine",
            "/var/lib/docker/volumes",
        ] {
            assert!(check_target(Path::new(target)).is_ok(), "{target}");
        }
    }
}
