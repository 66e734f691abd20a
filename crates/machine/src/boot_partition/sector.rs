//! Writes on a file system without a journal.

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, fsync, open};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a disk writes completely or not at all.
const SECTOR: usize = 512;

/// Puts a text into a file of one sector. A file that is there is written in place: neither the
/// table of clusters nor its folder changes, and a power loss leaves the old text or the new.
pub fn write_sector(path: &Path, text: &str) -> Result<()> {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.len() > SECTOR {
        bail!("{}: {} bytes do not fit into one sector", path.display(), bytes.len());
    }
    // Lines, because menus are read as text.
    bytes.resize(SECTOR, b'\n');
    let is_there = fs::metadata(path).is_ok_and(|data| data.len() == SECTOR as u64);
    if !is_there {
        return write_file(path, &bytes);
    }
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    file.write_all_at(&bytes, 0)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))
}

/// Replaces a file that nothing depends on yet.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes)
        .and_then(|()| OpenOptions::new().write(true).open(&fresh)?.sync_all())
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("writing {}", path.display()))?;
    flush(folder)
}

/// Writes out what changed in a folder, and with it all of its file system.
pub(super) fn flush(folder: &Path) -> Result<()> {
    let folder_file =
        open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let _ = fsync(&folder_file);
    rustix::fs::syncfs(&folder_file).with_context(|| format!("flushing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_written_in_place_and_never_grows() {
        use std::os::unix::fs::MetadataExt;
        let path = std::env::temp_dir().join(format!("corral-sector-{}", std::process::id()));
        write_sector(&path, "one").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        write_sector(&path, "two, longer").unwrap();
        let data = fs::metadata(&path).unwrap();
        assert_eq!((data.len(), data.ino()), (512, inode));
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), "two, longer");
        assert!(write_sector(&path, &"x".repeat(513)).is_err());
        fs::remove_file(path).unwrap();
    }
}
