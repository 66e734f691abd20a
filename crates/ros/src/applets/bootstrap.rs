//! `ros bootstrap`, in the bootstrap container: repairs the state disk, or makes one of a blank disk that the owner
//! named. Never touches a disk with anything on it.

use anyhow::{Context, Result, bail};
use corral_machine::block;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk is blank if so many bytes at its start are zero.
const BLANK: usize = 1 << 20;
const LABEL: &str = "RANCHER_STATE";

/// Does what the environment says: STATE_DEV, AUTOFORMAT.
pub(crate) fn run() -> Result<()> {
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

/// `rancher.state.script`: whatever the disk needs before it can be found.
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

fn check(device: &Path) -> Result<()> {
    for mode in ["-p", "-y"] {
        let status =
            Command::new("/usr/sbin/e2fsck").arg(mode).arg(device).status().context("starting e2fsck")?;
        // 0: clean, 1: mended, 2 and 3: mended, and it was in use.
        if status.code().is_some_and(|code| code < 4) {
            return Ok(());
        }
    }
    bail!("e2fsck could not mend {}", device.display())
}

fn make<'a>(candidates: impl Iterator<Item = &'a str>, state: &str) -> Result<()> {
    let label = state.strip_prefix("LABEL=").unwrap_or(LABEL);
    for device in candidates.map(PathBuf::from).filter(|device| device.exists()) {
        if !block::is_blank(&device, BLANK)? {
            println!("corral: {} is not blank, and stays as it is", device.display());
            continue;
        }
        println!("corral: formatting {} as {label}", device.display());
        let status = Command::new("/usr/sbin/mkfs.ext4")
            .args(["-q", "-F", "-L", label])
            .arg(&device)
            .status()
            .context("starting mkfs.ext4")?;
        if !status.success() {
            bail!("mkfs.ext4 {}: {status}", device.display());
        }
        return Ok(());
    }
    Ok(())
}
