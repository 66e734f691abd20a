//! Files that the owner wrote, beside those of the configuration.

use super::root::Root;
use anyhow::{Result, anyhow};
use std::path::Path;

/// Limit: no text that a person wrote is larger, and other content must not delay a boot.
pub(super) fn read(root: &Root, path: &Path) -> Result<String> {
    let bytes = root.read_complete(path, 1 << 20)?;
    String::from_utf8(bytes).map_err(|_| anyhow!("{} is not UTF-8 text", path.display()))
}
