//! Writes that last, of what the engine and its daemon keep (`corral_machine::files`).

use anyhow::{Context, Result};
pub use corral_machine::files::rename_durably as rename;
use corral_machine::files::write_atomic;
use serde::Serialize;
use std::path::Path;

/// As PID 1 and its children make files, with their umask of 022.
const MODE: u32 = 0o644;

/// Replaces a file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, bytes, MODE)
}

/// Replaces a file with a value as JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write(path, &serde_json::to_vec(value).with_context(|| format!("writing {}", path.display()))?)
}
