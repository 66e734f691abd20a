//! `ros bootstrap`, in the bootstrap container: repairs the state disk, or formats a blank disk
//! that the owner named. It never formats a disk with other content, except one that is named and
//! that Docker Machine marked.

mod marked;

use crate::grow;
use anyhow::{Context, Result, bail};
use corral_init::boot::state::REPAIRED;
use corral_install::luks::{self, KeyFile};
use corral_machine::{block, docker_machine, growth, modules, program};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk is blank if so many bytes at its start are zero.
const BLANK: u64 = 1 << 20;
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
        if docker_machine::is_marked(&device) {
            return format_marked(&device);
        }
        match is_blank(&device) {
            Ok(true) => return format(&device, &["-L", label]),
            Ok(false) => println!("corral: {} is not blank; left unchanged", device.display()),
            // It may have anything on it.
            Err(error) => println!("corral: {error:#}; {} is left unchanged", device.display()),
        }
    }
    Ok(())
}

fn is_blank(device: &Path) -> Result<bool> {
    let size = block::size(device)?;
    Ok(size > 0 && block::is_zero(device, 0..size.min(BLANK))?)
}

/// `rancher.state.docker_machine`: formats the disk that Docker Machine marked.
fn format_for_docker_machine() -> Result<()> {
    match marked::find()? {
        Some(device) => format_marked(&device),
        None => Ok(()),
    }
}

/// The key in the archive is kept. The label comes last, when the key is on the disk: without it,
/// after a power cut, the disk is not taken for the state of a machine.
fn format_marked(device: &Path) -> Result<()> {
    let keys = marked::keys(&block::load_start(device, marked::ARCHIVE)?)?;
    let content = std::env::temp_dir().join(format!("state-{}", std::process::id()));
    marked::prepare(&content, &keys)?;
    format(device, &["-d", &content.to_string_lossy()])?;
    // mkfs.ext4 may not notice that the disk could not be written.
    let flushed = File::open(device).and_then(|disk| disk.sync_all());
    flushed.with_context(|| format!("flushing {}", device.display()))?;
    label(device, docker_machine::LABEL)?;
    if let Err(error) = fs::remove_dir_all(&content) {
        println!("corral: removing {}: {error}", content.display());
    }
    Ok(())
}

fn label(device: &Path, label: &str) -> Result<()> {
    let mut tune2fs = Command::new("/usr/sbin/tune2fs");
    let labelling = || format!("labelling {} as {label}", device.display());
    program::run(tune2fs.args(["-L", label]).arg(device)).map(drop).with_context(labelling)
}

fn format(device: &Path, more: &[&str]) -> Result<()> {
    println!("corral: formatting {}", device.display());
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    let formatting = || format!("formatting {}", device.display());
    program::run(mkfs.args(["-q", "-F"]).args(more).arg(device)).map(drop).with_context(formatting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_disk_that_cannot_be_read_is_not_blank() {
        let path = std::env::temp_dir().join(format!("corral-blank-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        file.set_len(2 << 20).unwrap();
        assert!(is_blank(&path).unwrap());
        file.write_all_at(b"_BHRfS_M", (64 << 10) + 64).unwrap();
        assert!(!is_blank(&path).unwrap());
        file.set_len(0).unwrap();
        assert!(!is_blank(&path).unwrap(), "it has no size");
        // A folder has a size, and cannot be read.
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("below")).unwrap();
        assert!(is_blank(&path).is_err());
        fs::remove_dir_all(&path).unwrap();
    }
}
