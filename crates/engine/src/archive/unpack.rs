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

/// What came out of an archive.
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
            EntryType::Directory => match mkdirat(folder, *name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) if is_folder(folder, name) => {}
                Err(Errno::EXIST) => {
                    clear(folder, name)?;
                    mkdirat(folder, *name, Mode::from_raw_mode(0o755))?;
                }
                other => other?,
            },
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = openat(folder, *name, flags, Mode::from_raw_mode(0o600))?;
                let mut file = fs::File::from(file);
                let size = match kind {
                    EntryType::GNUSparse => copy_sparse(entry, &mut file),
                    _ => std::io::copy(entry, &mut file),
                };
                self.done.size += size.context("writing it")?;
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
mod tests {
    use super::*;
    use crate::archive::pack::{Packed, pack};
    use crate::archive::root::open_root;
    use std::os::unix::fs::MetadataExt;

    /// A folder of a test, gone at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("corral-archive-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn entry(kind: EntryType, name: &str, link: &str, text: &str) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        // As an attacker would: past the checks of the library that writes.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_mtime(1_000_000_000);
        header.set_size(text.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn take(folder: &Path, entries: &[Vec<u8>], whiteouts: Whiteouts) -> Result<Unpacked> {
        unpack(entries.concat().as_slice(), &open_root(folder).unwrap(), whiteouts)
    }

    #[test]
    fn malicious_input_does_not_lead_out() {
        let base = Folder::new("malicious");
        let root = base.0.join("root");
        let secret = base.0.join("secret");
        fs::write(&secret, "as it was").unwrap();
        let file = EntryType::Regular;
        let cases: [(&str, Vec<Vec<u8>>); 6] = [
            ("..", vec![entry(file, "../secret", "", "x")]),
            ("a .. inside", vec![entry(file, "a/../../secret", "", "x")]),
            (
                "link, then through it",
                vec![
                    entry(EntryType::Symlink, "out", "..", ""),
                    entry(file, "out/secret", "", "x"),
                ],
            ),
            (
                "absolute link, then through it",
                vec![
                    entry(EntryType::Symlink, "abs", base.0.to_str().unwrap(), ""),
                    entry(file, "abs/secret", "", "x"),
                ],
            ),
            (
                "link as the file",
                vec![
                    entry(EntryType::Symlink, "file", "../secret", ""),
                    entry(file, "file", "", "x"),
                ],
            ),
            (
                "hard link",
                vec![entry(EntryType::Link, "hard", "../secret", ""), entry(file, "hard", "", "x")],
            ),
        ];
        for (name, entries) in cases {
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            let _ = take(&root, &entries, Whiteouts::Convert);
            assert_eq!(fs::read_to_string(&secret).unwrap(), "as it was", "{name}");
            assert_eq!(
                fs::read_dir(&base.0).unwrap().count(),
                2,
                "{name}: something was made outside"
            );
        }
    }

    #[test]
    fn whiteouts_do_not_lead_out() {
        let base = Folder::new("whiteouts-out");
        let (middle, root) = (base.0.join("middle"), base.0.join("middle/root"));
        let secrets = [base.0.join("secret"), middle.join("secret"), middle.join("folder/secret")];
        fs::create_dir_all(middle.join("folder")).unwrap();
        secrets.iter().for_each(|secret| fs::write(secret, "as it was").unwrap());
        let file = EntryType::Regular;
        let own = entry(file, "a/b/own", "", "as it was");
        // Each with the error it is refused with; an empty text: no error.
        let cases = [
            (".wh...", "points outside"),
            (".wh..", "points outside"),
            ("a/.wh...", "points outside"),
            ("a/b/.wh...", "points outside"),
            ("a/b/.wh.../", "points outside"),
            ("./.wh..", "points outside"),
            (".wh.", ""),
            ("a/b/.wh.", ""),
            (".wh..wh.plnk", ""),
            (".wh..wh...", ""),
            (".wh.a/../../secret", "points outside"),
        ];
        for (name, expected) in cases {
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            let taken = take(&root, &[own.clone(), entry(file, name, "", "")], Whiteouts::Convert);
            let error = taken.err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert_eq!(error.is_empty(), expected.is_empty(), "{name}: {error}");
            assert!(error.contains(expected), "{name}: {error}");
            for path in secrets.iter().chain([&root.join("a/b/own")]) {
                let text = fs::read_to_string(path).unwrap_or_default();
                assert_eq!(text, "as it was", "{name}: {}", path.display());
            }
        }
    }

    #[test]
    fn what_a_whiteout_hides_goes_and_nothing_that_its_links_lead_to() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: making a whiteout takes root");
            return;
        }
        let base = Folder::new("hidden-links");
        let (root, outside) = (base.0.join("root"), base.0.join("outside"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret"), "as it was").unwrap();
        let (file, link) = (EntryType::Regular, EntryType::Symlink);
        let entries = [
            entry(file, "gone/deep/er/file", "", "x"),
            entry(link, "gone/absolute", outside.to_str().unwrap(), ""),
            entry(link, "gone/deep/relative", "../../../outside", ""),
            entry(link, "gone/up", "..", ""),
            entry(file, "kept", "", "x"),
            entry(file, ".wh.gone", "", ""),
            entry(link, "link", "../outside", ""),
            entry(file, ".wh.link", "", ""),
        ];
        take(&root, &entries, Whiteouts::Convert).unwrap();
        for name in ["gone", "link"] {
            let data = fs::symlink_metadata(root.join(name)).unwrap();
            assert_eq!((data.rdev(), data.mode() & 0o170_000), (0, 0o020_000), "{name}");
        }
        assert!(root.join("kept").exists());
        assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "as it was");
    }

    /// A sparse file of `size` bytes, of which the last are `text`.
    fn sparse(name: &str, size: u64, text: &str) -> Vec<u8> {
        let mut bytes = entry(EntryType::GNUSparse, name, "", text);
        let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
        let gnu = header.as_gnu_mut().unwrap();
        let octal =
            |number: u64| -> [u8; 12] { format!("{number:012o}").into_bytes().try_into().unwrap() };
        gnu.sparse[0].offset = octal(size - text.len() as u64);
        gnu.sparse[0].numbytes = octal(text.len() as u64);
        gnu.realsize = octal(size);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        bytes
    }

    #[test]
    fn holes_stay_holes_and_have_an_end() {
        let base = Folder::new("sparse");
        take(&base.0, &[sparse("file", 1 << 28, "end")], Whiteouts::Convert).unwrap();
        let data = fs::metadata(base.0.join("file")).unwrap();
        assert_eq!(data.len(), 1 << 28);
        assert!(data.blocks() < 2048, "{} blocks", data.blocks());
        for name in ["file", ".wh.file"] {
            let error =
                take(&base.0, &[sparse(name, 1 << 35, "end")], Whiteouts::Convert).unwrap_err();
            assert!(format!("{error:#}").contains("sparse files"), "{name}: {error:#}");
        }
    }

    #[test]
    fn names_have_an_end() {
        let base = Folder::new("names");
        let name = |length: usize| {
            let long = entry(EntryType::GNULongName, "long", "", &"n/".repeat(length / 2));
            take(&base.0, &[long, entry(EntryType::Regular, "short", "", "")], Whiteouts::Convert)
        };
        let error = format!("{:#}", name(5 << 20).unwrap_err());
        assert!(error.contains("headers of an entry are too large"), "{error}");
        // One that fits into memory and into no path is the kernel's to refuse.
        assert!(format!("{:#}", name(1 << 20).unwrap_err()).contains("name too long"));
        // What a folder has as its content is no header.
        let content = "x".repeat(5 << 20);
        let entries = [
            entry(EntryType::Directory, "folder", "", &content),
            entry(EntryType::Regular, "f", "", ""),
        ];
        take(&base.0, &entries, Whiteouts::Convert).unwrap();
        assert!(base.0.join("f").exists());
    }

    #[test]
    fn device_nodes_and_overlays_own_attributes_are_refused() {
        let base = Folder::new("nodes");
        let found =
            take(&base.0, &[entry(EntryType::Char, "tty", "", "")], Whiteouts::Convert).unwrap();
        assert_eq!(found.refused, ["tty: a device node"]);
        assert!(!base.0.join("tty").exists());
    }

    #[test]
    fn whiteouts_become_overlayfs_own() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: making a whiteout takes root");
            return;
        }
        let base = Folder::new("whiteouts");
        let entries = [
            entry(EntryType::Regular, "etc/.wh.gone", "", ""),
            entry(EntryType::Regular, "var/.wh..wh..opq", "", ""),
            entry(EntryType::Regular, "var/kept", "", "x"),
        ];
        take(&base.0, &entries, Whiteouts::Convert).unwrap();
        let data = fs::symlink_metadata(base.0.join("etc/gone")).unwrap();
        assert_eq!((data.rdev(), data.mode() & 0o170_000), (0, 0o020_000));
        let mut value = [0_u8; 8];
        let count =
            rustix::fs::lgetxattr(base.0.join("var"), "trusted.overlay.opaque", &mut value[..])
                .unwrap();
        assert_eq!(&value[..count], b"y");
        assert!(base.0.join("var/kept").exists());
        // The same the other way, as docker commit needs it.
        let mut bytes = Vec::new();
        pack(&open_root(&base.0).unwrap(), Path::new(""), Packed::Layer, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["etc/", "etc/.wh.gone", "var/", "var/.wh..wh..opq", "var/kept"]);
    }

    #[test]
    fn what_is_packed_comes_out_the_same() {
        let base = Folder::new("round");
        let (from, to) = (base.0.join("from"), base.0.join("to"));
        let long = "n".repeat(180);
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(from.join("a/file"), "text").unwrap();
        fs::write(from.join("a").join(&long), "long").unwrap();
        fs::hard_link(from.join("a/file"), from.join("a/second")).unwrap();
        std::os::unix::fs::symlink("/nowhere", from.join("a/link")).unwrap();
        rustix::fs::lsetxattr(from.join("a/file"), "user.note", b"kept", XattrFlags::empty())
            .unwrap();
        let mut bytes = Vec::new();
        pack(&open_root(&from).unwrap(), Path::new(""), Packed::Inside, &mut bytes).unwrap();
        unpack(bytes.as_slice(), &open_root(&to).unwrap(), Whiteouts::Keep).unwrap();
        assert_eq!(fs::read_to_string(to.join("a").join(&long)).unwrap(), "long");
        assert_eq!(fs::read_link(to.join("a/link")).unwrap(), Path::new("/nowhere"));
        assert_eq!(
            fs::metadata(to.join("a/file")).unwrap().ino(),
            fs::metadata(to.join("a/second")).unwrap().ino(),
            "two names of one file"
        );
        let mut value = [0_u8; 8];
        let count = rustix::fs::lgetxattr(to.join("a/file"), "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..count], b"kept");
    }
}
