//! Files of the engine's that only root reads. The environment of a container may hold passwords,
//! and other users can read /run.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a folder and those above it that are missing.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making {}", path.display()))
}

/// Writes a value as JSON.
pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_vec(value).with_context(|| format!("writing {}", path.display()))?;
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(&text));
    written.with_context(|| format!("writing {}", path.display()))
}
