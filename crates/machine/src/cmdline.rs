//! The kernel's command line, as text. Its meaning is `corral_config::cmdline`'s business.

use anyhow::{Context, Result};

/// Reads /proc/cmdline.
pub fn load() -> Result<String> {
    std::fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")
}
