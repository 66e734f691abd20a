//! Leaving the initramfs: its files are deleted, so that their memory is freed, and the system
//! image becomes `/`.

use crate::mounts;
use anyhow::{Context, Result};
use rustix::fs::CWD;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Makes `new_root` the root. `/dev`, `/proc` and `/sys` move along; the old root's own files are
/// gone afterwards.
pub fn switch(new_root: &Path) -> Result<()> {
    for name in ["dev", "proc", "sys"] {
        mounts::move_to(&Path::new("/").join(name), &new_root.join(name))?;
    }
    let device = fs::metadata("/").context("reading the old root")?.dev();
    rustix::process::chdir(new_root).context("entering the new root")?;
    delete_below(Path::new("/"), device);
    mounts::move_to(Path::new("."), Path::new("/"))?;
    rustix::process::chroot(".").context("entering the new root")?;
    rustix::process::chdir("/").context("entering the new root")
}

/// Deletes what is on the file system `device`, never crossing into another one. Best effort: it is
/// only memory.
fn delete_below(folder: &Path, device: u64) {
    let Ok(items) = fs::read_dir(folder) else { return };
    for item in items.flatten() {
        let path = item.path();
        let Ok(data) = rustix::fs::statat(CWD, &path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if data.st_dev != device {
            continue;
        }
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            delete_below(&path, device);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}
