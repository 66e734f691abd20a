//! Files that survive a power cut, complete or not at all.

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes a file under another name, and renames it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().context("a path without a name")?.to_string_lossy().into_owned();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let writing = || format!("writing {}", path.display());
    let mut file = File::create(&fresh).with_context(writing)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(writing)?;
    rename(&fresh, path)
}

/// Reads a record that `write` wrote as JSON; None if there is none, or one of an older xtask.
pub(crate) fn load_record<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Renames what is on the disk already.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("writing {}", to.display()))?;
    sync(to.parent().context("a path without a folder")?)
}

/// Waits until a file, or the list of a folder, is on the disk.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let file = File::open(path).and_then(|file| file.sync_all());
    file.with_context(|| format!("writing {} to the disk", path.display()))
}

#[cfg(test)]
mod tests {
    use super::write;
    use std::fs;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("record.json");
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
