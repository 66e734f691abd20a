//! Writes that must last: a temporary file, fsync, rename, fsync of the folder. A cut of power leaves the old or the new.

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, fsync, open};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Puts `bytes` at `path` with `mode`, and makes the folders above it.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let name = path.file_name().context("a path without a name")?.to_string_lossy();
    let fresh = folder.join(format!(".{name}.new"));
    let _ = fs::remove_file(&fresh);
    write_fresh(&fresh, bytes, mode)
        .and_then(|()| fs::rename(&fresh, path).context("renaming"))
        .with_context(|| format!("writing {}", path.display()))?;
    let folder = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fsync(&folder).with_context(|| format!("writing {}", path.display()))
}

/// Removes a file so that it stays removed; one that is not there is fine.
pub fn remove_durably(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        result => result.with_context(|| format!("removing {}", path.display()))?,
    }
    let folder = path.parent().context("a path without a folder")?;
    let folder = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fsync(&folder).with_context(|| format!("removing {}", path.display()))
}

fn write_fresh(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let folder = std::env::temp_dir().join(format!("corral-files-{}", std::process::id()));
        let path = folder.join("below/secret");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
