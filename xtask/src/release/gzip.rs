//! Packing by gzip, without the name and the time of the file: the same bytes give the same bytes.

use crate::sh;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// Packs a file; the file itself stays.
pub(super) fn write(from: &Path, output: &Path) -> Result<()> {
    let file = File::create(output).with_context(|| format!("making {}", output.display()))?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-n", "-6", "-c"]).arg(from).stdin(Stdio::null()).stdout(file);
    sh::run(&mut gzip)
}
