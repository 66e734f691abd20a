//! `ros bootstrap`, in the bootstrap container: repairs the state disk, or formats a blank disk
//! that the owner named. It never formats a disk with other content, except one that is named and
//! that Docker Machine marked.

mod marked;

use crate::grow;
use anyhow::{Context, Result, bail};
use corral_init::boot::state::REPAIRED;
use corral_install::luks::{self, KeyFile};
use corral_machine::{block, docker_machine, growth, modules, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk is blank if so many bytes at its start are zero.
const BLANK: usize = 1 << 20;
const LABEL: &str = "RANCHER_STATE";

/// Does what the environment says: STATE_DEV, AUTOFORMAT, CHECK, DOCKER_MACHINE, MDADM_SCAN,
/// UNLOCK, STATE_SCRIPT.
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
    if std::env::var_os("DOCKER_MACHINE").is_some() {
        return format_for_docker_machine();
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
        if start.starts_with(docker_machine::MARK) {
            return format_marked(&device, &start);
        }
        if start.is_empty() || start.iter().any(|byte| *byte != 0) {
            println!("corral: {} is not blank; left unchanged", device.display());
            continue;
        }
        return format(&device, label);
    }
    Ok(())
}

/// `rancher.state.docker_machine`: formats the disk that Docker Machine marked.
fn format_for_docker_machine() -> Result<()> {
    match marked::find()? {
        Some(device) => format_marked(&device, &block::load_start(&device, marked::ARCHIVE)?),
        None => Ok(()),
    }
}

/// `start` is the start of the disk: the archive with the key, which is kept.
fn format_marked(device: &Path, start: &[u8]) -> Result<()> {
    let keys = marked::keys(&start[..marked::ARCHIVE.min(start.len())])?;
    format(device, docker_machine::LABEL)?;
    marked::configure(device, &keys)
}

fn format(device: &Path, label: &str) -> Result<()> {
    println!("corral: formatting {} as {label}", device.display());
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    let formatting = || format!("formatting {}", device.display());
    program::run(mkfs.args(["-q", "-F", "-L", label]).arg(device))
        .map(drop)
        .with_context(formatting)
}
