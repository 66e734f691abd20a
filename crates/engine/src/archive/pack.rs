//! From a folder into an archive.

use super::root::{open_in, path_of};
use anyhow::{Context, Result, ensure};
use rustix::fs::{
    AtFlags, Dir, FileType, OFlags, Stat, lgetxattr, llistxattr, major, minor, readlinkat, statat,
};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Folders within each other; each is open while its inside is packed. A container could make so
/// many that no descriptor is left.
const DEEPEST: usize = 512;
/// Characters of a path in a message.
const SHOWN: usize = 200;

/// Under which name the archive holds what is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// The inside of the folder, without the folder itself.
    Inside,
    /// The same of an upper folder of overlayfs, as the layer of an image: what was removed is
    /// named by whiteouts. <https://github.com/opencontainers/image-spec/blob/main/layer.md>
    Layer,
    /// Under this name: `docker cp` renames so.
    As(OsString),
}

/// Packs what is at `path` below `root`.
pub fn pack(root: &OwnedFd, path: &Path, packed: Packed, writer: impl Write) -> Result<()> {
    let is_layer = packed == Packed::Layer;
    let mut packer = Packer { builder: Builder::new(writer), names: HashMap::new(), is_layer };
    match packed {
        Packed::Inside | Packed::Layer => {
            let folder = open_in(root, path, OFlags::DIRECTORY)?;
            packer.add_inside(Folder::read(folder, PathBuf::new())?)?;
        }
        Packed::As(name) => {
            let parent = open_in(root, path.parent().unwrap_or(Path::new("")), OFlags::DIRECTORY)?;
            let from = path.file_name().unwrap_or(OsStr::new("."));
            if let Some(folder) = packer.add(&parent, from, &PathBuf::from(name))? {
                packer.add_inside(folder)?;
            }
        }
    }
    packer
        .builder
        .into_inner()
        .and_then(|mut writer| writer.flush())
        .context("finishing the archive")
}

struct Packer<W: Write> {
    builder: Builder<W>,
    /// Files with several names: device and inode → the name under which they are in the archive.
    names: HashMap<(u64, u64), PathBuf>,
    is_layer: bool,
}

/// A folder whose inside is being packed.
struct Folder {
    folder: OwnedFd,
    /// In the archive.
    name: PathBuf,
    /// What is left of it.
    items: std::vec::IntoIter<OsString>,
}

impl Folder {
    fn read(folder: OwnedFd, name: PathBuf) -> Result<Folder> {
        let reading =
            Dir::read_from(&folder).with_context(|| format!("reading {}", name.display()))?;
        let mut items: Vec<OsString> = reading
            .flatten()
            .map(|item| OsString::from_vec(item.file_name().to_bytes().to_vec()))
            .filter(|item| item != "." && item != "..")
            .collect();
        // One folder gives one archive, however the disk keeps it.
        items.sort();
        Ok(Folder { folder, name, items: items.into_iter() })
    }
}

impl<W: Write> Packer<W> {
    /// Adds what is in a folder. The folders on the way down are a list, not nested calls: a
    /// container decides how deep they are.
    fn add_inside(&mut self, folder: Folder) -> Result<()> {
        let mut open = vec![folder];
        while let Some(Folder { folder, name, items }) = open.last_mut() {
            let Some(item) = items.next() else {
                open.pop();
                continue;
            };
            if let Some(deeper) = self.add(folder, &item, &name.join(&item))? {
                ensure!(
                    open.len() < DEEPEST,
                    "packing {}: more than {DEEPEST} folders are within each other; remove them",
                    beginning(&deeper.name)
                );
                open.push(deeper);
            }
        }
        Ok(())
    }

    /// Adds one file. A folder comes back, opened; its inside is still to be added.
    fn add(&mut self, parent: &OwnedFd, from: &OsStr, name: &Path) -> Result<Option<Folder>> {
        let context = || format!("packing {}", name.display());
        let data = match statat(parent, from, AtFlags::SYMLINK_NOFOLLOW) {
            // It went away since the folder was read, as files of a running container do.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other.with_context(context)?,
        };
        let kind = FileType::from_raw_mode(data.st_mode);
        if self.is_layer && kind == FileType::CharacterDevice && data.st_rdev == 0 {
            self.add_whiteout(&name.with_file_name(removed(from))).with_context(context)?;
            return Ok(None);
        }
        let mut header = header(&data);
        self.builder.append_pax_extensions(
            attributes(&path_of(parent).join(from))
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice())),
        )?;
        if kind == FileType::Directory {
            header.set_entry_type(EntryType::Directory);
            self.builder
                .append_data(&mut header, name.join(""), std::io::empty())
                .with_context(context)?;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(parent, from, flags, rustix::fs::Mode::empty());
            if self.is_layer && is_opaque(&path_of(parent).join(from)) {
                self.add_whiteout(&name.join(".wh..wh..opq")).with_context(context)?;
            }
            return Folder::read(folder.with_context(context)?, name.to_path_buf()).map(Some);
        }
        self.add_file(parent, from, name, (&data, header)).with_context(context).map(|()| None)
    }

    /// Adds what is no folder.
    fn add_file(
        &mut self,
        parent: &OwnedFd,
        from: &OsStr,
        name: &Path,
        (data, mut header): (&Stat, Header),
    ) -> Result<()> {
        let kind = FileType::from_raw_mode(data.st_mode);
        match kind {
            FileType::RegularFile => self.add_content(parent, from, name, (data, header)),
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let target = readlinkat(parent, from, Vec::new())?;
                let target = OsStr::from_bytes(target.as_bytes());
                Ok(self.builder.append_link(&mut header, name, target)?)
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                header.set_entry_type(match kind {
                    FileType::Fifo => EntryType::Fifo,
                    FileType::CharacterDevice => EntryType::Char,
                    _ => EntryType::Block,
                });
                header.set_device_major(major(data.st_rdev))?;
                header.set_device_minor(minor(data.st_rdev))?;
                Ok(self.builder.append_data(&mut header, name, std::io::empty())?)
            }
            // A socket is a name for a program that runs: there is nothing to pack.
            _ => Ok(()),
        }
    }

    fn add_whiteout(&mut self, name: &Path) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(0);
        Ok(self.builder.append_data(&mut header, name, std::io::empty())?)
    }

    fn add_content(
        &mut self,
        parent: &OwnedFd,
        from: &OsStr,
        name: &Path,
        (data, mut header): (&Stat, Header),
    ) -> Result<()> {
        if data.st_nlink > 1 {
            if let Some(first) = self.names.get(&(data.st_dev, data.st_ino)) {
                header.set_entry_type(EntryType::Link);
                return Ok(self.builder.append_link(&mut header, name, first)?);
            }
            self.names.insert((data.st_dev, data.st_ino), name.to_path_buf());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(parent, from, flags, rustix::fs::Mode::empty())?);
        let size = u64::try_from(data.st_size).unwrap_or(0);
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        // A file that shrinks or grows meanwhile must not break the archive.
        let exact = std::io::Read::take(std::io::Read::chain(file, std::io::repeat(0)), size);
        Ok(self.builder.append_data(&mut header, name, exact)?)
    }
}

/// The beginning of a path that may be very long.
fn beginning(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// `name` → `.wh.name`.
fn removed(name: &OsStr) -> OsString {
    let mut whiteout = OsString::from(".wh.");
    whiteout.push(name);
    whiteout
}

/// Does the folder hide what lower layers have in it?
fn is_opaque(path: &Path) -> bool {
    let mut value = [0_u8; 1];
    lgetxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok() && value == *b"y"
}

fn header(data: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(data.st_mode & 0o7777);
    header.set_uid(data.st_uid.into());
    header.set_gid(data.st_gid.into());
    header.set_mtime(u64::try_from(data.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// Extended attributes that mean something elsewhere: not overlayfs' own.
fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0_u8; 4096];
    let count = llistxattr(path, &mut names[..]).unwrap_or(0);
    let names =
        names[..count].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let mut found = Vec::new();
    for name in names.filter(|name| name.starts_with("user.") || *name == "security.capability") {
        let mut value = vec![0_u8; 64 * 1024];
        if let Ok(count) = lgetxattr(path, name, &mut value[..]) {
            found.push((format!("SCHILY.xattr.{name}"), value[..count].to_vec()));
        }
    }
    found
}
