//! The ext4 file system of the state: checked, and made smaller. The programs are those of
//! e2fsprogs; they do not write where the file system is mounted.

use super::table::SECTOR;
use anyhow::{Context, Result, bail};
use corral_machine::program;
use std::path::Path;

/// e2fsck(8): what it found is repaired.
const REPAIRED: i32 = 1;

/// Replays the journal and checks everything, as resize2fs requires. Only what can be repaired
/// without a decision is repaired.
pub(super) fn check(device: &Path) -> Result<()> {
    println!("checking {}", device.display());
    let ended = program::output(
        program::of_system("/usr/sbin/e2fsck").args(["-f", "-p"]).arg(device),
        &[],
        None,
    )?;
    match ended.status.code() {
        Some(0 | REPAIRED) => Ok(()),
        _ => bail!(
            "{}: the file system has errors that need a decision; no partition was changed; repair \
             it by `sudo e2fsck -f {0}`, and adopt the disk again: {}",
            device.display(),
            ended.stdout.trim().lines().last().unwrap_or_default()
        ),
    }
}

/// Makes the file system so many bytes large. What is behind them is moved first.
pub(super) fn shrink(device: &Path, bytes: u64) -> Result<()> {
    println!("shrinking {}; this may take minutes: do not turn the machine off", device.display());
    let size = format!("{}s", bytes / SECTOR);
    program::run(program::of_system("/usr/sbin/resize2fs").arg(device).arg(size))
        .with_context(|| format!("shrinking {}", device.display()))?;
    // Without a change: what is found here is a bug, and the partition still has its old size.
    program::run(program::of_system("/usr/sbin/e2fsck").args(["-f", "-n"]).arg(device))
        .map(drop)
        .with_context(|| format!("checking {} after it was shrunk", device.display()))
}
