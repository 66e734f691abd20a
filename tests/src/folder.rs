//! A private folder for each story, which no other user can read or name in advance. Its disks are
//! removed with the story, because dozens of them would fill a build machine. The logs stay for a
//! day.

use crate::report;
use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;
use std::fs::{self, File, Permissions};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PREFIX: &str = "corral-story-";
/// The process id of a machine that keeps running, and has its disks in the folder.
const MACHINE: &str = "machine.pid";
/// A larger file, in bytes, is a disk or an archive, and not a log.
const LARGE: u64 = 1 << 20;
/// The longest path of a socket (unix(7)). File names in a folder may have up to `LONGEST_NAME`
/// characters: `ssh-rancher.sock.`, and what ssh appends to that.
const LONGEST_SOCKET: usize = 107;
const LONGEST_NAME: usize = 40;
/// A folder younger than this may not be locked yet.
const IN_THE_MAKING: Duration = Duration::from_secs(60);
/// How long logs stay.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Empty at the start. Large files are removed at the end, unless a machine keeps running.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held as long as the story runs. The kernel releases it, even if the story is killed.
    _lock: File,
}

/// Makes the folder, and removes what interrupted stories left.
pub fn folder(name: &str) -> Result<Folder> {
    let parent = std::path::absolute(parent())?;
    sweep(&parent);
    let path = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{name}-"))
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .with_context(|| format!("making a folder in {}", parent.display()))?
        .keep();
    let length = path.as_os_str().len();
    ensure!(
        length + LONGEST_NAME <= LONGEST_SOCKET,
        "{}: {length} characters leave no room for sockets in it; set TMPDIR to a shorter folder",
        path.display()
    );
    let lock = File::open(&path)?;
    lock.lock().with_context(|| format!("locking {}", path.display()))?;
    report::uses(&path);
    Ok(Folder { path, _lock: lock })
}

/// On a disk: where /tmp is in memory, the disks of stories would fill it.
fn parent() -> PathBuf {
    let asked = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    asked.map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !has_machine(&self.path) {
            remove_what_is_large(&self.path);
        }
    }
}

/// A machine keeps running: the folder stays as it is until that machine exits.
pub(crate) fn keep(folder: &Path, machine: u32) {
    let _ = fs::write(folder.join(MACHINE), machine.to_string());
}

fn has_machine(folder: &Path) -> bool {
    fs::read_to_string(folder.join(MACHINE)).is_ok_and(|pid| Path::new("/proc").join(pid).exists())
}

fn remove_what_is_large(folder: &Path) {
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_log = item.path().extension().is_some_and(|extension| extension == "log");
        match item.metadata() {
            Ok(data) if data.is_dir() => remove_what_is_large(&item.path()),
            Ok(data) if data.is_file() && data.len() > LARGE && !is_log => {
                drop(fs::remove_file(item.path()))
            }
            _ => {}
        }
    }
}

/// Removes large files in folders that no story uses any more, and old folders completely.
fn sweep(parent: &Path) {
    for item in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_of_a_story = item.file_name().as_bytes().starts_with(PREFIX.as_bytes());
        // The metadata of the item itself, if it is a link.
        let Ok(data) = item.metadata() else { continue };
        let is_ours = data.is_dir() && data.uid() == geteuid().as_raw();
        if !is_of_a_story || !is_ours || has_machine(&item.path()) {
            continue;
        }
        let age = data.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        let is_free = || File::open(item.path()).is_ok_and(|folder| folder.try_lock().is_ok());
        if age > KEPT_FOR && is_free() {
            let _ = fs::remove_dir_all(item.path());
        } else if age > IN_THE_MAKING && is_free() {
            remove_what_is_large(&item.path());
        }
    }
}
