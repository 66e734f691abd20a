//! A folder to work in. Every path is resolved by the kernel below the folder's descriptor
//! (openat2(2), `RESOLVE_IN_ROOT`), so that no link leads out of it.

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Opens a folder whose inside is safe to work in.
pub fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).with_context(|| format!("opening {}", path.display()))
}

/// Opens what is at a path below a root, as a process whose root it is would: links may not lead
/// out.
pub fn open_in(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens a folder below the root, making what is missing; links are followed as a process in there
/// would.
pub fn make_folders(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    match open_in(root, path, OFlags::DIRECTORY) {
        Ok(folder) => return Ok(folder),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    }
    let parent = make_folders(root, path.parent().unwrap_or(Path::new("")))?;
    let name = path.file_name().context("a folder without a name")?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).with_context(|| format!("making {}", path.display())),
    }
    open_in(root, path, OFlags::DIRECTORY).with_context(|| format!("opening {}", path.display()))
}

/// A path that the kernel takes for what a descriptor is open on.
pub(super) fn path_of(descriptor: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}
