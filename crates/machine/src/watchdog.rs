//! The watchdog of a trial boot: it is started once and never fed. Unless it is stopped in time,
//! the machine restarts, no matter what hangs.
//! <https://docs.kernel.org/watchdog/watchdog-api.html>

use crate::modules::Index;
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

const DEVICE: &str = "/dev/watchdog0";
/// Closing the device after this letter stops the watchdog; closing it without leaves it running.
const MAGIC_CLOSE: &[u8] = b"V";

/// Starts the kernel's own watchdog: it needs no hardware, and takes any time.
pub fn start(modules: &mut Index, seconds: u32) -> Result<()> {
    modules.load(&format!("softdog soft_margin={seconds}"))?;
    let mut device =
        OpenOptions::new().write(true).open(DEVICE).with_context(|| format!("opening {DEVICE}"))?;
    device.write_all(b"\0").context("starting the watchdog")
}

/// Stops it. One that does not run is fine.
pub fn stop() -> Result<()> {
    if !Path::new(DEVICE).exists() {
        return Ok(());
    }
    let mut device =
        OpenOptions::new().write(true).open(DEVICE).with_context(|| format!("opening {DEVICE}"))?;
    device.write_all(MAGIC_CLOSE).context("stopping the watchdog")
}
