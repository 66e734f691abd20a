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
pub(super) fn write_sector(path: &Path, text: &str) -> Result<()> {
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

/// Writes a file of blocks that begin at a sector each: the entries of a menu. If it is there and
/// each block differs in one sector at most, it is written in place. Then a power loss leaves each
/// block as it was or as it is to be. Otherwise the file is replaced.
pub(super) fn write_blocks(path: &Path, blocks: &[String]) -> Result<()> {
    let fresh: Vec<u8> = blocks.iter().flat_map(|block| filled(block)).collect();
    let old = fs::read(path).unwrap_or_default();
    let Some(changed) = changed_sectors(&old, blocks) else { return write_file(path, &fresh) };
    if changed.is_empty() {
        return Ok(());
    }
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    changed
        .into_iter()
        .try_for_each(|at| file.write_all_at(&fresh[at..at + SECTOR], at as u64))
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))
}

/// Complete sectors. Empty lines, because menus are read as text.
fn filled(block: &str) -> Vec<u8> {
    let mut bytes = block.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(SECTOR), b'\n');
    bytes
}

/// Where sectors differ. None if the old file has other blocks, or two differ in the same one.
fn changed_sectors(old: &[u8], blocks: &[String]) -> Option<Vec<usize>> {
    let mut changed = Vec::new();
    let mut at = 0;
    for block in blocks {
        let fresh = filled(block);
        let before = old.get(at..at + fresh.len())?;
        let first_line = block.split_inclusive('\n').next().unwrap_or_default();
        if !before.starts_with(first_line.as_bytes()) {
            return None;
        }
        let differ = fresh.chunks(SECTOR).zip(before.chunks(SECTOR)).enumerate();
        let mut differ = differ.filter(|(_, (new, old))| new != old).map(|(number, _)| number);
        changed.extend(differ.next().map(|number| at + number * SECTOR));
        if differ.next().is_some() {
            return None;
        }
        at += fresh.len();
    }
    (at == old.len()).then_some(changed)
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

    #[test]
    fn blocks_are_written_in_place_if_each_changes_in_one_sector() {
        use std::os::unix::fs::MetadataExt;
        let path = std::env::temp_dir().join(format!("corral-blocks-{}", std::process::id()));
        let tail = "x".repeat(600);
        let blocks = |middle: &str, end: &str| {
            vec![format!("LABEL a\n{middle}\n"), format!("LABEL b\n{middle}\n{tail}\n{end}\n")]
        };
        let write = |blocks: &[String]| {
            write_blocks(&path, blocks).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 3 * SECTOR);
            assert!(bytes[SECTOR..].starts_with(b"LABEL b\n"));
            fs::metadata(&path).unwrap().ino()
        };
        let first = write(&blocks("one", "end"));
        assert_eq!(write(&blocks("two", "end")), first);
        assert!(fs::read_to_string(&path).unwrap().starts_with("LABEL a\ntwo\n"));
        // The second block changes in both of its sectors.
        assert_ne!(write(&blocks("one", "END")), first);
        assert!(fs::read_to_string(&path).unwrap().contains("END"));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_with_other_blocks_is_replaced() {
        let blocks = ["LABEL a\n".to_owned(), "LABEL b\n".to_owned()];
        let fresh: Vec<u8> = blocks.iter().flat_map(|block| filled(block)).collect();
        assert_eq!(changed_sectors(&fresh, &blocks), Some(Vec::new()));
        assert_eq!(changed_sectors(&fresh[..SECTOR], &blocks), None);
        assert_eq!(changed_sectors(b"LABEL a\nLABEL b\n", &blocks), None);
        let other = [filled("LABEL a\n"), filled("tail of a\n")].concat();
        assert_eq!(changed_sectors(&other, &blocks), None);
    }
}
