//! Removing a folder with all that is in it. Each folder is opened by its name in the descriptor of
//! the one above it, never through a link. So nothing outside is reached, also if names or folders
//! change meanwhile.

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::{Errno, Result};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Removes what has this name in a folder; nothing of that name is no error. The folders on the way
/// down are a list, not nested calls: an archive decides how deep they are.
pub(super) fn remove_tree(parent: &OwnedFd, name: &CStr) -> Result<()> {
    let mut open = Vec::new();
    if let Some(folder) = remove_file(parent.as_fd(), name)? {
        open.push((folder, name.to_owned()));
    }
    while let Some((folder, _)) = open.last_mut() {
        if let Some(deeper) = remove_files(folder)? {
            open.push(deeper);
        } else if let Some((_, name)) = open.pop() {
            let above = open.last().map_or(Ok(parent.as_fd()), |(above, _)| above.fd())?;
            unlinkat(above, &name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

/// Removes the files of a folder, up to the first folder in it.
fn remove_files(folder: &mut Dir) -> Result<Option<(Dir, CString)>> {
    while let Some(entry) = folder.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if let Some(deeper) = remove_file(folder.fd()?, name)? {
            return Ok(Some((deeper, name.to_owned())));
        }
    }
    Ok(None)
}

/// Removes a file; a folder comes back, opened.
fn remove_file(parent: BorrowedFd<'_>, name: &CStr) -> Result<Option<Dir>> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(Errno::ISDIR) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            Dir::new(openat2(parent, name, flags, Mode::empty(), resolve)?).map(Some)
        }
        Err(error) => Err(error),
    }
}
