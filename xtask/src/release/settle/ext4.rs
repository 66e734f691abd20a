//! The state partition: its file system is written again from its files. mke2fs leaves no trace of
//! a clock in it; the kernel that wrote the first one did, also in its journal.

use super::gpt::Partition;
use super::raw::{Settings, punch, u16_at};
use crate::release::identity::{Identity, text};
use crate::tree::{Entry, Kind, read_folder};
use crate::{erofs, packages, sh};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const LABEL: &str = "RANCHER_STATE";
const SUPERBLOCK: u64 = 1024;
/// The inode of the root folder.
const ROOT: u64 = 2;

/// A file, as debugfs lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    path: String,
    /// In octal, with the kind.
    mode: String,
    owner: String,
    bytes: String,
}

/// The identifier of the file system at `start`.
pub(super) fn uuid(disk: &File, start: u64) -> Result<[u8; 16]> {
    let mut block = [0; 1024];
    disk.read_exact_at(&mut block, start + SUPERBLOCK)?;
    ensure!(u16_at(&block, 56) == 0xef53, "its state partition has no ext4");
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&block[104..120]);
    Ok(uuid)
}

/// Writes the file system of a partition again.
pub(super) fn settle(
    disk: &Path,
    partition: Partition,
    identity: &Identity,
    settings: Settings<'_>,
) -> Result<()> {
    let work = disk.with_extension("state");
    let _ = fs::remove_dir_all(&work);
    let [content, again] = ["content", "content-again"].map(|name| work.join(name));
    for folder in [&content, &again] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let (old, new) = (work.join("old"), work.join("new"));
    let tools = Tools { settings, work: &work };
    copy(disk, partition.start, &old, 0, partition.bytes)?;
    tools.extract(&old, &content)?;
    File::create(&new)?.set_len(partition.bytes)?;
    tools.make(&content, &new, identity)?;
    tools.compare(&old, &new)?;
    tools.extract(&new, &again)?;
    compare_content(&content, &again)?;
    punch(disk, partition.start, partition.bytes)?;
    copy(&new, 0, disk, partition.start, partition.bytes)?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))
}

/// Copies bytes; blocks of zeros stay holes.
fn copy(from: &Path, start: u64, to: &Path, at: u64, bytes: u64) -> Result<()> {
    let operand = |name: &str, path: &Path| format!("{name}={}", path.display());
    let mut dd = Command::new("dd");
    dd.args([operand("if", from), operand("of", to)]);
    dd.args([format!("skip={start}"), format!("seek={at}"), format!("count={bytes}")]);
    dd.args(["bs=1M", "iflag=skip_bytes,count_bytes,fullblock", "oflag=seek_bytes"]);
    sh::output(dd.args(["conv=sparse,notrunc", "status=none"])).map(drop)
}

/// e2fsprogs of the system image: what `ros install` formats with.
struct Tools<'a> {
    settings: Settings<'a>,
    work: &'a Path,
}

impl Tools<'_> {
    fn program(&self, name: &str) -> Result<Command> {
        let packages = self.settings.packages;
        let mut program = erofs::program(&format!("usr/sbin/{name}"), packages)?;
        let epoch = self.settings.epoch.to_string();
        program.env("MKE2FS_CONFIG", packages::find(packages, "etc/mke2fs.conf")?);
        program.env("SOURCE_DATE_EPOCH", &epoch).env("E2FSPROGS_FAKE_TIME", epoch);
        program.env("LC_ALL", "C").env("TZ", "UTC");
        Ok(program)
    }

    fn extract(&self, system: &Path, folder: &Path) -> Result<()> {
        let mut debugfs = self.program("debugfs")?;
        debugfs.arg("-R").arg(format!("rdump / {}", quoted(folder)?)).arg(system);
        sh::output(&mut debugfs).context("reading the files")?;
        // A time before the epoch would be kept.
        let mut touch = Command::new("find");
        let epoch = format!("@{}", self.settings.epoch);
        touch.arg(folder).args(["-exec", "touch", "--no-dereference", "-d", &epoch, "{}", "+"]);
        sh::output(&mut touch).map(drop)
    }

    /// With the flags of `ros install` (crates/install/src/installer/target.rs).
    fn make(&self, content: &Path, system: &Path, identity: &Identity) -> Result<()> {
        let seed = text(identity.uuid("order of names"));
        let mut mke2fs = self.program("mke2fs")?;
        mke2fs.args(["-t", "ext4", "-q", "-F", "-i", "8192", "-L", LABEL]);
        mke2fs.args(["-U", &text(identity.uuid("state"))]);
        mke2fs.arg("-E").arg(format!("hash_seed={seed},root_owner=0:0"));
        mke2fs.arg("-d").arg(content).arg(system);
        sh::output(&mut mke2fs).context("writing the file system")?;
        let script = self.work.join("owners");
        fs::write(&script, owners(&self.list(system)?))?;
        let mut debugfs = self.program("debugfs")?;
        sh::output(debugfs.arg("-w").arg("-f").arg(&script).arg(system))
            .context("setting the owners")?;
        let mut e2fsck = self.program("e2fsck")?;
        sh::output(e2fsck.args(["-f", "-n"]).arg(system)).context("checking it").map(drop)
    }

    /// Compares names, modes, owners and sizes.
    fn compare(&self, old: &Path, new: &Path) -> Result<()> {
        let files = |system: &Path| -> Result<Vec<Listed>> {
            let mut files: Vec<Listed> =
                self.list(system)?.into_iter().map(|(_, file)| file).collect();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(files)
        };
        let (old, new) = (files(old)?, files(new)?);
        if let Some((old, new)) = old.iter().zip(&new).find(|(old, new)| old != new) {
            bail!("{old:?} became {new:?}");
        }
        ensure!(old.len() == new.len(), "{} files became {}", old.len(), new.len());
        Ok(())
    }

    /// All files with their inodes, also the root folder; sizes of folders are left out.
    fn list(&self, system: &Path) -> Result<Vec<(u64, Listed)>> {
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::from("/")];
        while let Some(folder) = folders.pop() {
            let mut debugfs = self.program("debugfs")?;
            let list = format!("ls -p {}", quoted(&folder)?);
            let text = sh::output(debugfs.arg("-R").arg(list).arg(system))?;
            for (inode, mut file) in text.lines().filter_map(parse) {
                let path = match file.path.as_str() {
                    ".." => continue,
                    "." if inode != ROOT => continue,
                    name => folder.join(name),
                };
                if file.mode.starts_with("04") && inode != ROOT {
                    folders.push(path.clone());
                }
                file.path = path.display().to_string();
                files.push((inode, file));
            }
        }
        Ok(files)
    }
}

/// A script for debugfs that gives all files to root. Who builds the release without being root
/// owns the files that were read.
fn owners(files: &[(u64, Listed)]) -> String {
    let is_changed = |(inode, file): &&(u64, Listed)| *inode == ROOT || file.owner != "0/0";
    let lines = files
        .iter()
        .filter(is_changed)
        .map(|(inode, _)| format!("sif <{inode}> uid 0\nsif <{inode}> gid 0\n"));
    lines.collect()
}

/// Compares two folders with all that is below them; links are not followed.
fn compare_content(old: &Path, new: &Path) -> Result<()> {
    let (of_old, of_new) = (read_folder(old)?, read_folder(new)?);
    let names = |files: &[(String, Entry)]| -> BTreeSet<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    let (old_names, new_names) = (names(&of_old), names(&of_new));
    if let Some(name) = old_names.symmetric_difference(&new_names).next() {
        bail!("only one of both file systems has {name}");
    }
    for ((name, old), (_, new)) in of_old.iter().zip(&of_new) {
        let is_same = match (&old.kind, &new.kind) {
            (Kind::Directory, Kind::Directory) => true,
            (Kind::Symlink(old), Kind::Symlink(new)) => old == new,
            (Kind::File(old), Kind::File(new)) => old.read()? == new.read()?,
            _ => false,
        };
        ensure!(is_same && old.mode == new.mode, "{name} has another content or mode");
    }
    Ok(())
}

/// As debugfs reads a path.
fn quoted(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    ensure!(!text.contains(['"', '\n']), "debugfs cannot read the path {text:?}");
    Ok(format!("\"{text}\""))
}

/// `/INODE/MODE/UID/GID/NAME/SIZE/`; a folder has no size.
fn parse(line: &str) -> Option<(u64, Listed)> {
    let fields: Vec<&str> = line.split('/').collect();
    let [_, inode, mode, uid, gid, name, bytes, ..] = fields[..] else { return None };
    let inode = inode.parse().ok().filter(|inode| *inode > 0)?;
    let listed = Listed {
        path: name.to_owned(),
        mode: mode.to_owned(),
        owner: format!("{uid}/{gid}"),
        bytes: bytes.to_owned(),
    };
    Some((inode, listed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn root_always_gets_the_root_folder_and_what_it_does_not_own() {
        let lines = ["/2/040755/0/0/.//", "/12/040755/1000/0/a//", "/13/100644/0/0/b/3/"];
        let files: Vec<_> = lines.iter().filter_map(|line| parse(line)).collect();
        assert_eq!((files[0].1.path.as_str(), files[2].1.bytes.as_str()), (".", "3"));
        let expected = "sif <2> uid 0\nsif <2> gid 0\nsif <12> uid 0\nsif <12> gid 0\n";
        assert_eq!(owners(&files), expected);
    }

    /// A folder with a file, a link to it, and a link that leads nowhere.
    fn make(text: &str, target: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/file"), text).unwrap();
        symlink("file", folder.path().join("deep/link")).unwrap();
        symlink(target, folder.path().join("nowhere")).unwrap();
        folder
    }

    #[test]
    fn contents_and_targets_of_links_are_compared() {
        let old = make("text", "/a");
        let compare = |new: &tempfile::TempDir| {
            compare_content(old.path(), new.path()).map_err(|error| error.to_string())
        };
        assert_eq!(compare(&make("text", "/a")), Ok(()));
        let differs = |name: &str| Err(format!("{name} has another content or mode"));
        assert_eq!(compare(&make("Text", "/a")), differs("deep/file"));
        assert_eq!(compare(&make("text", "/b")), differs("nowhere"));
        let copied = make("text", "/a");
        fs::remove_file(copied.path().join("deep/link")).unwrap();
        fs::write(copied.path().join("deep/link"), "text").unwrap();
        assert_eq!(compare(&copied), differs("deep/link"));
        fs::remove_file(copied.path().join("deep/link")).unwrap();
        let lacks = Err("only one of both file systems has deep/link".to_owned());
        assert_eq!(compare(&copied), lacks);
    }
}
