//! Images in the initramfs, which came with further archives (PXE). The kernel mounts an image in a
//! file of most file systems, but not in one of tmpfs, which an initramfs usually is.

use anyhow::{Context, Result, ensure};
use corral_machine::mounts::{self, Mount};
use rustix::fs::{FallocateFlags, fallocate, statfs};
use rustix::mount::MountFlags;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where they are moved to.
const FOLDER: &str = "/in-memory";
/// Of tmpfs, from statfs(2).
const TMPFS: u64 = 0x0102_1994;
const PIECE: usize = 1 << 20;

/// The image of that name, where the kernel can mount it. None if it did not come with the
/// initramfs.
pub(crate) fn find(name: &str) -> Result<Option<PathBuf>> {
    let here = Path::new("/").join(name);
    if !here.exists() {
        return Ok(None);
    }
    if u64::try_from(statfs(&here)?.f_type) != Ok(TMPFS) {
        return Ok(Some(here));
    }
    let moved = Path::new(FOLDER).join(name);
    move_to_ramfs(&here, &moved).with_context(|| format!("moving {}", here.display()))?;
    Ok(Some(moved))
}

fn move_to_ramfs(from: &Path, to: &Path) -> Result<()> {
    if !mounts::is_mount_point(Path::new(FOLDER)) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mounts::mount(&Mount { source: "images", target: FOLDER, kind: "ramfs", flags, data: "" })?;
    }
    let source = OpenOptions::new().read(true).write(true).open(from)?;
    move_bytes(&source, &File::create(to)?).inspect_err(|_| release(to))?;
    Ok(fs::remove_file(from)?)
}

/// Frees the memory of an image once nothing has it mounted: nothing deletes files of ramfs later.
pub(crate) fn release(image: &Path) {
    if image.starts_with(FOLDER) {
        let _ = fs::remove_file(image);
    }
}

/// Each piece is freed once it is copied: there may be no memory for two of them.
fn move_bytes(source: &File, target: &File) -> Result<()> {
    let length = source.metadata()?.len();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < length {
        let count = match source.read_at(&mut piece, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        ensure!(count > 0, "it ends after {at} of {length} bytes");
        target.write_all_at(piece.get(..count).unwrap_or_default(), at)?;
        let punched = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(source, punched, at, count as u64)?;
        at += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_moved_is_the_same_and_takes_no_memory_twice() {
        let [source, target] = ["source", "target"].map(|name| {
            let path = format!("/dev/shm/corral-{name}-{}", std::process::id());
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
            fs::remove_file(path).unwrap();
            file
        });
        let bytes: Vec<u8> = (0..3 * PIECE / 2).map(|number| (number % 251) as u8).collect();
        source.write_all_at(&bytes, 0).unwrap();
        move_bytes(&source, &target).unwrap();
        let mut moved = vec![0; bytes.len()];
        target.read_exact_at(&mut moved, 0).unwrap();
        assert_eq!(moved, bytes);
        assert_eq!(target.metadata().unwrap().len(), bytes.len() as u64);
        assert_eq!(source.metadata().unwrap().blocks(), 0);
    }
}
