//! `ros bootstrap`, in the bootstrap container: repairs the state disk, or formats a blank disk
//! that the owner named. It never formats a disk with other content, except one that Docker Machine
//! marked.

use crate::grow;
use anyhow::{Context, Result, bail};
use corral_init::boot::state::REPAIRED;
use corral_install::luks::{self, KeyFile};
use corral_machine::mounts::{self, Mount};
use corral_machine::{block, growth, modules, program};
use rustix::mount::MountFlags;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk is blank if so many bytes at its start are zero.
const BLANK: usize = 1 << 20;
const LABEL: &str = "RANCHER_STATE";
/// How a disk of Docker Machine requests to be formatted: the name of the first file of a tar
/// archive.
const BOOT2DOCKER: &[u8] = b"boot2docker, please format-me";
const BOOT2DOCKER_ARCHIVE: usize = 8192;
const BOOT2DOCKER_LABEL: &str = "B2D_STATE";

/// Does what the environment says: STATE_DEV, AUTOFORMAT, CHECK, MDADM_SCAN, UNLOCK, STATE_SCRIPT.
pub(crate) fn run() -> Result<()> {
    if std::env::var_os("MDADM_SCAN").is_some() {
        return assemble();
    }
    if let Ok(container) = std::env::var("UNLOCK") {
        return unlock(Path::new(&container));
    }
    if let Ok(script) = std::env::var("STATE_SCRIPT") {
        return run_script(&script);
    }
    let state = std::env::var("STATE_DEV").unwrap_or_default();
    let format = std::env::var("AUTOFORMAT").unwrap_or_default();
    match block::resolve(&state).first() {
        Some(device) => check(device),
        None => make(format.split_whitespace(), &state),
    }
}

/// `rancher.state.mdadm_scan`: assembles the software RAID arrays that are found.
fn assemble() -> Result<()> {
    if let Err(error) = modules::load(&["raid0", "raid1", "raid10", "raid456"]) {
        println!("corral: {error:#}");
    }
    let mut mdadm = Command::new("/usr/sbin/mdadm");
    let status =
        mdadm.args(["--assemble", "--scan", "--run"]).status().context("starting mdadm")?;
    // 1: nothing was found, 2: some could not be assembled.
    println!("corral: mdadm ended with {}", status.code().unwrap_or(-1));
    Ok(())
}

/// `rancher.state.encryption`: the container stays open.
fn unlock(container: &Path) -> Result<()> {
    let file = std::env::var("KEY_FILE").unwrap_or_default();
    let file = if file.is_empty() { None } else { Some(file.parse::<KeyFile>()?) };
    // The opened device is as large as the partition below it. The file system in it grows when the
    // state is mounted.
    if let Some(partition) = growth::room_behind(container)
        && let Err(error) = grow::partition(&partition)
    {
        println!("corral: growing {}: {error:#}", container.display());
    }
    luks::unlock(container, file.as_ref()).map(|opened| drop(opened.leave()))
}

/// `rancher.state.script`: what the disk needs before it can be found.
fn run_script(text: &str) -> Result<()> {
    let file = Path::new("/tmp/state-script");
    corral_machine::files::write_atomic(file, text.as_bytes(), 0o700)?;
    let direct = text.starts_with("#!");
    let mut command = if direct { Command::new(file) } else { Command::new("/bin/sh") };
    if !direct {
        command.arg(file);
    }
    let status = command.status().context("starting the script")?;
    if status.success() { Ok(()) } else { bail!("the script ended with {status}") }
}

/// Repairs a file system, and creates a marker file if it was repaired. `CHECK=careful` also checks
/// one that is marked clean, but skips repairs that could lose data: those need a person's
/// decision.
fn check(device: &Path) -> Result<()> {
    let modes: &[&[&str]] =
        if std::env::var_os("CHECK").is_some() { &[&["-f", "-p"]] } else { &[&["-p"], &["-y"]] };
    for mode in modes {
        let status = Command::new("/usr/sbin/e2fsck").args(*mode).arg(device).status();
        match status.context("starting e2fsck")?.code() {
            Some(0) => return Ok(()),
            // 1: repaired, 2 and 3: repaired, and it was in use.
            Some(1..=3) => return fs::write(REPAIRED, "").context("noting the repair"),
            _ => {}
        }
    }
    bail!("e2fsck could not repair {}", device.display())
}

fn make<'a>(candidates: impl Iterator<Item = &'a str>, state: &str) -> Result<()> {
    let label = state.strip_prefix("LABEL=").unwrap_or(LABEL);
    for device in candidates.map(PathBuf::from).filter(|device| device.exists()) {
        let start = block::load_start(&device, BLANK)?;
        if start.starts_with(BOOT2DOCKER) {
            format(&device, BOOT2DOCKER_LABEL)?;
            return keep_keys_of_boot2docker(
                &device,
                &start[..BOOT2DOCKER_ARCHIVE.min(start.len())],
            );
        }
        if start.is_empty() || start.iter().any(|byte| *byte != 0) {
            println!("corral: {} is not blank; left unchanged", device.display());
            continue;
        }
        return format(&device, label);
    }
    Ok(())
}

fn format(device: &Path, label: &str) -> Result<()> {
    println!("corral: formatting {} as {label}", device.display());
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    let formatting = || format!("formatting {}", device.display());
    program::run(mkfs.args(["-q", "-F", "-L", label]).arg(device))
        .map(drop)
        .with_context(formatting)
}

/// Docker Machine puts a tar archive with its ssh key at the start of a disk that is to be
/// formatted. The key is kept.
fn keep_keys_of_boot2docker(device: &Path, archive: &[u8]) -> Result<()> {
    let mut keys = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        // After the archive comes what was on the disk before.
        let Ok(mut entry) = entry else { break };
        if entry.path()?.ends_with(".ssh/authorized_keys")
            || entry.path()?.ends_with(".ssh/authorized_keys2")
        {
            let mut text = String::new();
            entry.read_to_string(&mut text).context("reading the ssh key of Docker Machine")?;
            keys.extend(
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned),
            );
        }
    }
    keys.sort();
    keys.dedup();
    let root = Path::new("/tmp/state");
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: &root.to_string_lossy(),
        kind: "ext4",
        flags: MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })?;
    let config = serde_json::json!({
        "ssh_authorized_keys": keys,
        "rancher": {"network": {"interfaces": {"eth0": {"dhcp": true}, "eth1": {"dhcp": true}}}},
    });
    let text =
        corral_config::yaml::to_string(&config).map_err(|error| anyhow::anyhow!("{error}"))?;
    let file = root.join("var/lib/rancher/conf/cloud-config.d/machine.yml");
    let written = corral_machine::files::write_atomic(
        &file,
        format!("#cloud-config\n{text}").as_bytes(),
        0o600,
    );
    let closed = mounts::unmount(root, false);
    written.and(closed)
}
