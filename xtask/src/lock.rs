//! Several xtasks in one checkout: one at a time builds, and none replaces images that the machines
//! of another one boot. What all checkouts share has locks in the shared cache. The kernel releases
//! a lock when its process exits for any reason.

use crate::paths;
use anyhow::{Context, Result};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// While this exists, no other xtask of this checkout builds.
#[derive(Debug)]
pub(crate) struct Building {
    /// A process locks this before it locks `images` exclusively. So no process does that while
    /// `done` changes to the shared lock.
    _turn: File,
    images: File,
}

/// While this exists, images, tools and `ros` stay as they are. Several processes may have it.
#[derive(Debug)]
pub(crate) struct InUse {
    _images: File,
}

impl Building {
    /// Waits until no other xtask builds.
    pub(crate) fn begin() -> Result<Building> {
        let turn = alone("building.lock", "which builds in this checkout")?;
        Ok(Building { _turn: turn, images: open(&images())? })
    }

    /// Waits until no machine boots what will be replaced.
    pub(crate) fn replace(&self) -> Result<()> {
        wait(&self.images, &images(), "whose machines boot the images that are to be replaced")
    }

    /// Ends the build: machines may boot its results.
    pub(crate) fn done(self) -> Result<InUse> {
        let images = self.images;
        images.lock_shared().context("keeping the images as they are")?;
        sign(&images)?;
        Ok(InUse { _images: images })
    }
}

/// The lock of this name below `target/corral`, exclusively; waits for it.
pub(crate) fn alone(name: &str, which: &str) -> Result<File> {
    alone_at(&paths::cache(name), which)
}

/// The same for all checkouts of this machine: a lock in the shared cache.
pub(crate) fn alone_on_machine(name: &str, which: &str) -> Result<File> {
    alone_at(&paths::shared_cache(name), which)
}

fn alone_at(path: &Path, which: &str) -> Result<File> {
    let file = open(path)?;
    wait(&file, path, which)?;
    Ok(file)
}

/// The same without waiting: none if another process has it.
pub(crate) fn alone_now(name: &str) -> Result<Option<File>> {
    let file = open(&paths::cache(name))?;
    match file.try_lock() {
        Ok(()) => {
            sign(&file)?;
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {name}")),
    }
}

fn wait(file: &File, path: &Path, which: &str) -> Result<()> {
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let owner = fs::read_to_string(path).unwrap_or_default();
        eprintln!("waiting for {owner}, {which} ...");
    }
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    sign(file)
}

fn images() -> PathBuf {
    paths::cache("images.lock")
}

fn open(path: &Path) -> Result<File> {
    let opening = || format!("opening {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(opening)?;
    File::options().write(true).create(true).truncate(false).open(path).with_context(opening)
}

/// Writes the owner of the lock into it, for processes that wait.
fn sign(mut file: &File) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let owner = format!("`cargo xtask {}` (process {})", arguments.join(" "), std::process::id());
    file.set_len(0)?;
    std::io::Seek::rewind(&mut file)?;
    file.write_all(owner.as_bytes()).context("writing into a lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped_and_names_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/verify.lock");
        let alone = alone_at(&path, "which is this test").unwrap();
        let other = open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        let owner = fs::read_to_string(&path).unwrap();
        assert!(owner.contains(&format!("process {}", std::process::id())), "{owner}");
        drop(alone);
        other.try_lock().unwrap();
    }
}
