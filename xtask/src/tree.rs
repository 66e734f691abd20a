//! A file system tree in memory: what a layer, the root image or the initrd will hold. It is
//! sorted, so that it is always written in the same order. Owners and modes come from the tree, not
//! from the build machine.

use crate::private_loader;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, btree_map};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// In bytes: smaller files are not worth a link.
const WORTH_SHARING: usize = 4096;

/// Where the bytes of a file come from.
#[derive(Debug, Clone)]
pub(crate) enum Blob {
    /// A file of the build machine.
    Host(PathBuf),
    /// The same, a program that gets our loader.
    Program(PathBuf),
    /// Bytes made by the build.
    Bytes(Vec<u8>),
}

impl Blob {
    /// The content.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        match self {
            Blob::Host(path) => read(path),
            Blob::Program(path) => private_loader::program(read(path)?)
                .with_context(|| format!("changing the loader of {}", path.display())),
            Blob::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// The file of the build machine that it is made of.
    pub(crate) fn host(&self) -> Option<&Path> {
        match self {
            Blob::Host(path) | Blob::Program(path) => Some(path),
            Blob::Bytes(_) => None,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// The kind of an entry.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Directory,
    File(Blob),
    Symlink(String),
}

/// An entry of the tree, with its mode and owner.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Entry {
    /// A directory, 0755, owned by root.
    pub(crate) fn directory() -> Entry {
        Entry { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 }
    }
    /// A file owned by root.
    pub(crate) fn file(blob: Blob, mode: u32) -> Entry {
        Entry { kind: Kind::File(blob), mode, uid: 0, gid: 0 }
    }
    /// A symbolic link.
    pub(crate) fn symlink(target: &str) -> Entry {
        Entry { kind: Kind::Symlink(target.to_owned()), mode: 0o777, uid: 0, gid: 0 }
    }
}

/// Paths are relative, without a leading slash: `usr/bin/ros`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Adds an entry and the directories above it.
    pub(crate) fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        let mut above = Path::new(path).parent();
        while let Some(folder) = above.and_then(Path::to_str).filter(|folder| !folder.is_empty()) {
            self.entries.entry(folder.to_owned()).or_insert_with(Entry::directory);
            above = Path::new(folder).parent();
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds bytes as a file of mode 0644.
    pub(crate) fn write(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.insert(path, Entry::file(Blob::Bytes(bytes.into()), 0o644));
    }

    /// Is there anything at this path?
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    /// Adds all that stands in a folder of the checkout, or of what a build has written.
    pub(crate) fn insert_folder(&mut self, folder: &Path) -> Result<()> {
        for (path, entry) in read_own_folder(folder)? {
            self.insert(&path, entry);
        }
        Ok(())
    }

    /// Puts another tree below `prefix`.
    pub(crate) fn graft(&mut self, prefix: &str, other: &Tree) {
        for (path, entry) in &other.entries {
            self.insert(&format!("{prefix}/{path}"), entry.clone());
        }
    }

    /// Sum of the sizes of the files, in bytes.
    pub(crate) fn size(&self) -> u64 {
        let size = |entry: &Entry| match &entry.kind {
            Kind::File(Blob::Bytes(bytes)) => bytes.len() as u64,
            Kind::File(Blob::Host(path) | Blob::Program(path)) => {
                fs::metadata(path).map_or(0, |data| data.len())
            }
            _ => 0,
        };
        self.entries.values().map(size).sum()
    }

    /// Files with the same content, mode and owner as an earlier one, and the path of that one. As
    /// hard links they are in the image once, and in the machine's memory once for all containers.
    fn hard_links(&self) -> Result<BTreeMap<&str, &str>> {
        let mut first = BTreeMap::new();
        let mut hard_links = BTreeMap::new();
        for (path, entry) in &self.entries {
            let Kind::File(blob) = &entry.kind else { continue };
            let bytes = blob.read()?;
            if bytes.len() < WORTH_SHARING {
                continue;
            }
            let content = <[u8; 32]>::from(Sha256::digest(&bytes));
            match first.entry((content, entry.mode, entry.uid, entry.gid)) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(path.as_str());
                }
                btree_map::Entry::Occupied(entry) => {
                    hard_links.insert(path.as_str(), *entry.get());
                }
            }
        }
        Ok(hard_links)
    }

    /// Writes the tree below `folder`. Owners are not written, so that a build needs no root.
    pub(crate) fn write_folder(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let hard_links = self.hard_links()?;
        let mut folders = Vec::new();
        for (path, entry) in &self.entries {
            let target = folder.join(path);
            if entry.uid != 0 || entry.gid != 0 {
                bail!("{path} is not root's: a dense image has only root's files");
            }
            match &entry.kind {
                Kind::Directory => {
                    fs::create_dir_all(&target)?;
                    folders.push((target, entry.mode));
                }
                Kind::Symlink(to) => std::os::unix::fs::symlink(to, &target)?,
                Kind::File(_) if hard_links.contains_key(path.as_str()) => {
                    fs::hard_link(folder.join(hard_links[path.as_str()]), &target)?;
                }
                Kind::File(blob) => {
                    fs::write(&target, blob.read()?)
                        .with_context(|| format!("writing {}", target.display()))?;
                    fs::set_permissions(&target, fs::Permissions::from_mode(entry.mode))?;
                }
            }
        }
        // Last, because files cannot be written into a read-only folder.
        for (target, mode) in folders {
            fs::set_permissions(target, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Writes the tree as a tar archive; every time stamp is `epoch`.
    pub(crate) fn write_tar(&self, out: impl Write, epoch: u64) -> Result<()> {
        let mut archive = tar::Builder::new(out);
        let hard_links = self.hard_links()?;
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry, hard_links.get(path.as_str()).copied(), epoch)
                .with_context(|| format!("archiving {path}"))?;
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    entry: &Entry,
    twin: Option<&str>,
    epoch: u64,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(epoch);
    header.set_size(0);
    if let Some(twin) = twin {
        header.set_entry_type(tar::EntryType::Link);
        archive.append_link(&mut header, path, twin)?;
        return Ok(());
    }
    match &entry.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, path, target)?;
        }
        Kind::File(blob) => {
            let bytes = blob.read()?;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
    }
    Ok(())
}

/// All entries below a folder of the build machine, with their modes; owned by root.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<(String, Entry)>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(current) = open.pop() {
        for item in
            fs::read_dir(&current).with_context(|| format!("reading {}", current.display()))?
        {
            let path = item?.path();
            let name = path
                .strip_prefix(folder)?
                .to_str()
                .context("a file name that is not UTF-8")?
                .to_owned();
            let entry = read_entry(&path)?;
            if matches!(entry.kind, Kind::Directory) {
                open.push(path);
            }
            found.push((name, entry));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The same of the checkout, or of what a build has written. Only whether a file is a program is
/// taken from it, as git does: the rest depends on the umask of this machine.
pub(crate) fn read_own_folder(folder: &Path) -> Result<Vec<(String, Entry)>> {
    let mut found = read_folder(folder)?;
    for (_, entry) in &mut found {
        entry.mode = match entry.kind {
            Kind::Symlink(_) => entry.mode,
            Kind::File(_) if entry.mode & 0o100 == 0 => 0o644,
            _ => 0o755,
        };
    }
    Ok(found)
}

fn read_entry(path: &Path) -> Result<Entry> {
    let data = fs::symlink_metadata(path)?;
    let mode = data.permissions().mode() & 0o7777;
    if data.is_dir() {
        Ok(Entry { mode, ..Entry::directory() })
    } else if data.is_symlink() {
        Ok(Entry::symlink(fs::read_link(path)?.to_str().context("a link that is not UTF-8")?))
    } else if data.is_file() {
        Ok(Entry::file(Blob::Host(path.to_path_buf()), mode))
    } else {
        bail!("{} is neither a file, a directory nor a link", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_the_checkout_do_not_depend_on_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let modes = [("program", 0o775, 0o755), ("text", 0o664, 0o644), ("secret", 0o600, 0o644)];
        for (name, mode, _) in modes {
            let file = folder.path().join(name);
            fs::write(&file, name).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut tree = Tree::default();
        tree.insert_folder(folder.path()).unwrap();
        for (name, _, expected) in modes {
            assert_eq!(tree.entries[name].mode, expected, "{name}");
        }
        let as_it_is = read_folder(folder.path()).unwrap();
        assert_eq!(as_it_is[1].1.mode, 0o600, "packages keep their modes");
    }
}
