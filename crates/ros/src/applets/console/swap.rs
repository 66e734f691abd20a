//! `swap` of the configuration: a file on the state disk. It is made once; later boots use it as it
//! is.

use anyhow::{Context, Result, bail};
use corral_config::model::Swap;
use corral_engine::paths::SWAP_FILE;
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_machine::program;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of the state disk. A swap file anywhere else would be on an overlay, which cannot swap.
const ON_DISK: [&str; 5] =
    ["/home/", "/opt/", "/var/lib/docker/", "/var/lib/rancher/", "/var/log/"];
/// For a file that is to be elsewhere: its name is kept.
const FOLDER: &str = "/var/lib/rancher";
const DEFAULT_NAME: &str = "swap.img";

/// Makes the file if it is missing, and swaps to it.
pub(super) fn make(swap: &Swap) -> Result<()> {
    if swap.size.is_empty() {
        return Ok(());
    }
    let file = place(&swap.filename);
    if is_active(&fs::read_to_string("/proc/swaps").unwrap_or_default(), &file) {
        return Ok(());
    }
    if !file.exists() {
        let memory = rustix::system::sysinfo().totalram as u64;
        let folder = file.parent().context("the file is in no folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let disk = statvfs(folder).with_context(|| format!("reading {}", folder.display()))?;
        let room = disk.f_bavail.saturating_mul(disk.f_frsize);
        let bytes = swap.bytes(memory, room);
        if bytes == 0 {
            return Ok(());
        }
        if bytes > room {
            bail!(
                "{} takes {} MiB, and its disk has {} MiB: choose a smaller size",
                file.display(),
                bytes >> 20,
                room >> 20
            );
        }
        create(&file, bytes).inspect_err(|_| drop(fs::remove_file(&file)))?;
        log(&format!("swap: {} has {} MiB", file.display(), bytes >> 20));
    }
    // Recorded first: as long as the file is in use, its disk cannot be made clean.
    write_atomic(Path::new(SWAP_FILE), file.as_os_str().as_encoded_bytes(), 0o644)?;
    program::run(Command::new("/usr/sbin/swapon").arg(&file)).map(drop)
}

/// A file on the state disk; without a name, or elsewhere, one in Corral's folder.
fn place(name: &str) -> PathBuf {
    let wanted = Path::new(name);
    let is_plain = !name.split('/').any(|part| part == "..");
    if is_plain
        && ON_DISK.iter().any(|folder| name.len() > folder.len() && name.starts_with(folder))
    {
        return wanted.to_owned();
    }
    Path::new(FOLDER).join(wanted.file_name().unwrap_or(DEFAULT_NAME.as_ref()))
}

fn is_active(swaps: &str, file: &Path) -> bool {
    let active = swaps.lines().filter_map(|line| line.split_whitespace().next());
    // The kernel shows the path on the disk, which ends with that in the console.
    active.map(Path::new).any(|other| other.ends_with(file.strip_prefix("/").unwrap_or(file)))
}

/// It is readable by root only: it holds what was in memory.
fn create(file: &Path, bytes: u64) -> Result<()> {
    let making = || format!("making {}", file.display());
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let opened = opened.with_context(making)?;
    fallocate(&opened, FallocateFlags::empty(), 0, bytes)
        .with_context(|| format!("{}: is there a state disk?", making()))?;
    opened.sync_all().with_context(making)?;
    program::run(Command::new("/usr/sbin/mkswap").arg(file)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_file_is_on_the_state_disk() {
        for (name, expected) in [
            ("", "/var/lib/rancher/swap.img"),
            ("/swapfile", "/var/lib/rancher/swapfile"),
            ("/mnt/swapfile", "/var/lib/rancher/swapfile"),
            ("/opt/swap", "/opt/swap"),
            ("/opt/../swap", "/var/lib/rancher/swap"),
            ("/opt/", "/var/lib/rancher/opt"),
            ("/", "/var/lib/rancher/swap.img"),
        ] {
            assert_eq!(place(name), Path::new(expected), "{name}");
        }
    }

    #[test]
    fn a_swap_file_is_used_once() {
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n\
                     /state/var/lib/rancher/swap.img file\t65532\t0\t-2\n";
        assert!(is_active(swaps, Path::new("/var/lib/rancher/swap.img")));
        assert!(!is_active(swaps, Path::new("/var/lib/rancher/other")));
    }
}
