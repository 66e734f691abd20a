//! From an archive into a folder.

use super::entries;
use super::remove::remove_tree;
use super::root::{make_folders, open_in, path_of};
use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    linkat, lsetxattr, makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Entry, EntryType};

/// What the names of AUFS' whiteouts mean, which image layers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// They become what overlayfs understands.
    Convert,
    /// They are names as any other.
    Keep,
}

/// The result of unpacking an archive.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Bytes of regular files.
    pub size: u64,
    /// Entries that were left out, and why.
    pub refused: Vec<String>,
}

const OPAQUE: &str = ".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";
const XATTR: &str = "SCHILY.xattr.";

/// Unpacks an archive below `root`. An entry that would lead out of it is an error. Device nodes
/// are left out: which devices a container may open is set when it is created, not in an archive.
pub fn unpack(reader: impl Read, root: &OwnedFd, whiteouts: Whiteouts) -> Result<Unpacked> {
    let mut unpacker =
        Unpacker { root, whiteouts, done: Unpacked::default(), folder_times: BTreeMap::new() };
    entries::each(reader, |entry| {
        let name = entry.path().context("a name in the archive")?.into_owned();
        unpacker.take(entry, &name).with_context(|| format!("unpacking {}", name.display()))
    })?;
    unpacker.finish()
}

struct Unpacker<'a> {
    root: &'a OwnedFd,
    whiteouts: Whiteouts,
    done: Unpacked,
    /// The times of folders change as long as something is put into them: they are set last.
    folder_times: BTreeMap<PathBuf, i64>,
}

/// Where an entry goes: an open folder and a name in it.
struct Destination<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
}

impl Unpacker<'_> {
    fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>, name: &Path) -> Result<()> {
        let path = clean(name)?;
        let Some(file_name) = path.file_name() else {
            return self.take_root(entry);
        };
        let folder = self.make_folders(path.parent().unwrap_or(Path::new("")))?;
        if self.whiteouts == Whiteouts::Convert
            && let Some(hidden) = file_name.as_bytes().strip_prefix(WHITEOUT)
        {
            return white_out(&folder, file_name, hidden);
        }
        let destination = Destination { folder, name: file_name };
        if self.make(entry, &destination, &path)? {
            set_attributes(entry, &destination)?;
        }
        if entry.header().entry_type().is_dir() {
            self.folder_times.insert(path, mtime(entry));
        }
        Ok(())
    }

    fn take_root<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<()> {
        if entry.header().entry_type().is_dir() {
            let destination = Destination {
                folder: open_in(self.root, Path::new(""), OFlags::DIRECTORY)?,
                name: OsStr::new("."),
            };
            set_attributes(entry, &destination)?;
            self.folder_times.insert(PathBuf::new(), mtime(entry));
        }
        Ok(())
    }

    /// Makes what an entry stands for; false if nothing was made that has attributes of its own.
    fn make<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        destination: &Destination<'_>,
        path: &Path,
    ) -> Result<bool> {
        let Destination { folder, name } = destination;
        let kind = entry.header().entry_type();
        if !kind.is_dir() {
            clear(folder, name)?;
        }
        match kind {
            EntryType::Directory => make_folder(destination)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.done.size += write_file(entry, destination)?;
            }
            EntryType::Symlink => symlinkat(target(entry)?.as_path(), folder, *name)?,
            EntryType::Link => {
                self.link(&target(entry)?, destination)?;
                return Ok(false);
            }
            EntryType::Fifo => {
                mknodat(folder, *name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?
            }
            EntryType::Char | EntryType::Block => {
                self.done.refused.push(format!("{}: a device node", path.display()));
                return Ok(false);
            }
            other => {
                self.done.refused.push(format!("{}: an entry of kind {other:?}", path.display()));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn link(&self, target: &Path, destination: &Destination<'_>) -> Result<()> {
        let target = clean(target)?;
        let source = open_in(self.root, &target, OFlags::PATH | OFlags::NOFOLLOW)
            .with_context(|| format!("a hard link to {}", target.display()))?;
        linkat(
            rustix::fs::CWD,
            path_of(&source),
            &destination.folder,
            destination.name,
            AtFlags::SYMLINK_FOLLOW,
        )
        .with_context(|| format!("linking it to {}", target.display()))
    }

    /// Opens a folder below the root, making what is missing.
    fn make_folders(&self, path: &Path) -> Result<OwnedFd> {
        make_folders(self.root, path)
    }

    fn finish(self) -> Result<Unpacked> {
        for (path, seconds) in &self.folder_times {
            let folder = open_in(self.root, path, OFlags::DIRECTORY);
            // One that a later entry replaced has no time of its own any more.
            let Ok(folder) = folder else { continue };
            utimensat(&folder, ".", &times(*seconds), AtFlags::empty())?;
        }
        Ok(self.done)
    }
}

/// Makes a folder. One that is there already stays; anything else in its place goes.
fn make_folder(Destination { folder, name }: &Destination<'_>) -> Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    match mkdirat(folder, *name, mode) {
        Err(Errno::EXIST) if is_folder(folder, name) => Ok(()),
        Err(Errno::EXIST) => {
            clear(folder, name)?;
            Ok(mkdirat(folder, *name, mode)?)
        }
        other => Ok(other?),
    }
}

/// Writes the content of an entry into a new file; returns its bytes.
fn write_file<R: Read>(
    entry: &mut Entry<'_, R>,
    Destination { folder, name }: &Destination<'_>,
) -> Result<u64> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, *name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = fs::File::from(file);
    let size = match entry.header().entry_type() {
        EntryType::GNUSparse => copy_sparse(entry, &mut file),
        _ => std::io::copy(entry, &mut file),
    };
    size.context("writing it")
}

/// Copies what is not zero; the rest stays a hole.
fn copy_sparse(mut from: impl Read, to: &mut fs::File) -> std::io::Result<u64> {
    let zeros = vec![0_u8; 128 * 1024];
    let (mut buffer, mut size) = (zeros.clone(), 0);
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            to.set_len(size)?;
            return Ok(size);
        }
        if buffer[..count] != zeros[..count] {
            to.seek(SeekFrom::Start(size))?;
            to.write_all(&buffer[..count])?;
        }
        size += count as u64;
    }
}

/// A path of an archive without what means nothing; one with `..` is refused.
fn clean(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                bail!("{} points outside the archive", path.display())
            }
        }
    }
    Ok(clean)
}

fn target<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf> {
    Ok(entry
        .link_name()
        .context("reading its link target")?
        .context("a link without a target")?
        .into_owned())
}

fn is_folder(folder: &OwnedFd, name: &OsStr) -> bool {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|data| FileType::from_raw_mode(data.st_mode) == FileType::Directory)
}

/// Takes away what is there already: archives may hold a name twice, and copies replace files.
fn clear(folder: &OwnedFd, name: &OsStr) -> Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => bail!("its destination is a folder that is not empty"),
            other => Ok(other?),
        },
        Err(error) => Err(error.into()),
    }
}

/// What an entry `.wh.NAME` does. The name that it hides is one of the same folder, so `.` and `..`
/// are refused.
fn white_out(folder: &OwnedFd, name: &OsStr, hidden: &[u8]) -> Result<()> {
    if name == OPAQUE {
        return lsetxattr(
            path_of(folder).join("."),
            "trusted.overlay.opaque",
            b"y",
            XattrFlags::empty(),
        )
        .context("making a folder opaque");
    }
    if hidden == b"." || hidden == b".." {
        bail!("the whiteout {} points outside its folder", name.display());
    }
    if hidden.starts_with(WHITEOUT) || hidden.is_empty() {
        // AUFS' own notes, such as .wh..wh.plnk, mean nothing here.
        return Ok(());
    }
    let hidden = CString::new(hidden).context("reading the name to hide")?;
    remove_tree(folder, &hidden).context("removing the hidden file")?;
    mknodat(folder, &hidden, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
        .context("making a whiteout")
}

fn mtime<R: Read>(entry: &Entry<'_, R>) -> i64 {
    entry.header().mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0)
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Owner, mode, extended attributes and time, in the order in which none undoes another.
fn set_attributes<R: Read>(entry: &mut Entry<'_, R>, destination: &Destination<'_>) -> Result<()> {
    let Destination { folder, name } = destination;
    let number =
        |value: std::io::Result<u64>| value.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    let (uid, gid) = (number(entry.header().uid()), number(entry.header().gid()));
    chownat(
        folder,
        *name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .context("changing its owner")?;
    let is_link = entry.header().entry_type().is_symlink();
    if !is_link {
        let mode = entry.header().mode().context("reading its mode")?;
        chmodat(folder, *name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
            .context("changing its mode")?;
    }
    for (key, value) in xattrs(entry)? {
        // Overlayfs' own would make of a folder what the archive must not decide.
        if !key.starts_with("trusted.") {
            let path = path_of(folder).join(name);
            lsetxattr(&path, &key, &value, XattrFlags::empty())
                .with_context(|| format!("setting its attribute {key}"))?;
        }
    }
    let seconds = mtime(entry);
    utimensat(folder, *name, &times(seconds), AtFlags::SYMLINK_NOFOLLOW).context("setting its time")
}

fn xattrs<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<(String, Vec<u8>)>> {
    let Some(extensions) = entry.pax_extensions().context("reading its extended header")? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for extension in extensions {
        let extension = extension.context("reading its extended header")?;
        let key = OsStr::from_bytes(extension.key_bytes()).to_string_lossy().into_owned();
        if let Some(name) = key.strip_prefix(XATTR) {
            found.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
