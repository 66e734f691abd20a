//! Tar archives into a folder and out of it. Whatever an archive says, and whatever a container does to its folders
//! meanwhile, nothing outside the folder is touched: every path is resolved by the kernel below the folder's descriptor
//! (openat2(2), `RESOLVE_IN_ROOT`).

mod pack;
mod remove;
mod unpack;

pub use pack::{Packed, pack};
pub(crate) use unpack::make_folders;
pub use unpack::{Unpacked, Whiteouts, unpack};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Opens a folder whose inside is safe to work in.
pub fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).with_context(|| format!("opening {}", path.display()))
}

/// Opens what is at a path below a root, as a process whose root it is would: links may not lead out.
pub fn open_in(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// A path that the kernel takes for what a descriptor is open on.
fn path_of(descriptor: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}
