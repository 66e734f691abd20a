//! The state partition: its file system is written again from its files. mke2fs leaves no trace of
//! a clock in it; the kernel that wrote the first one did, also in its journal.

use super::gpt::Partition;
use super::raw::{Settings, punch, u16_at};
use crate::release::identity::{Identity, text};
use crate::{erofs, packages, sh};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const LABEL: &str = "RANCHER_STATE";
const SUPERBLOCK: u64 = 1024;

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
    let content = work.join("content");
    fs::create_dir_all(&content).with_context(|| format!("making {}", content.display()))?;
    let (old, new) = (work.join("old"), work.join("new"));
    let tools = Tools { settings, work: &work };
    copy(disk, partition.start, &old, 0, partition.bytes)?;
    tools.extract(&old, &content)?;
    File::create(&new)?.set_len(partition.bytes)?;
    tools.make(&content, &new, identity)?;
    tools.compare(&old, &new)?;
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
        fs::write(&script, self.owners(system)?)?;
        let mut debugfs = self.program("debugfs")?;
        sh::output(debugfs.arg("-w").arg("-f").arg(&script).arg(system))
            .context("setting the owners")?;
        let mut e2fsck = self.program("e2fsck")?;
        sh::output(e2fsck.args(["-f", "-n"]).arg(system)).context("checking it").map(drop)
    }

    /// Who builds the release without being root owns the files that were read.
    fn owners(&self, system: &Path) -> Result<String> {
        let mut script = String::new();
        for (inode, file) in self.list(system)? {
            if file.owner != "0/0" {
                script.push_str(&format!("sif <{inode}> uid 0\nsif <{inode}> gid 0\n"));
            }
        }
        Ok(script)
    }

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

    /// All files with their inodes; sizes of folders are left out.
    fn list(&self, system: &Path) -> Result<Vec<(u64, Listed)>> {
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::from("/")];
        while let Some(folder) = folders.pop() {
            let mut debugfs = self.program("debugfs")?;
            let list = format!("ls -p {}", quoted(&folder)?);
            let text = sh::output(debugfs.arg("-R").arg(list).arg(system))?;
            for (inode, mut file) in text.lines().filter_map(parse) {
                let path = folder.join(&file.path);
                file.path = path.display().to_string();
                if file.mode.starts_with("04") {
                    folders.push(path);
                }
                files.push((inode, file));
            }
        }
        Ok(files)
    }
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
    if matches!(name, "." | "..") {
        return None;
    }
    let listed = Listed {
        path: name.to_owned(),
        mode: mode.to_owned(),
        owner: format!("{uid}/{gid}"),
        bytes: bytes.to_owned(),
    };
    Some((inode, listed))
}
