//! The boot partitions from which this machine was started, for writing: one, or one on each disk
//! of a mirror. They are mounted for writing only while a `BootPartitions` exists.

use anyhow::{Context, Result, bail};
use corral_machine::boot_partition::booted::MEDIUM;
use corral_machine::boot_partition::{self, BOOT_PARAMETER, BootPartition};
use corral_machine::mounts::{self, Mount};
use corral_machine::{block, cmdline, drivers, program};
use rustix::fs::FlockOperation;
use rustix::mount::MountFlags;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const LOCK: &str = "/run/corral/boot.lock";
const MOUNTS: &str = "/run/corral/boot";

/// Boot partitions with the same content, open for writing.
#[derive(Debug)]
pub struct BootPartitions {
    partitions: Vec<BootPartition>,
    /// Held as long as this exists: one change at a time.
    _lock: File,
}

impl BootPartitions {
    /// Locks the boot partitions of the running system, repairs and opens them.
    pub fn lock() -> Result<BootPartitions> {
        let line = cmdline::load()?;
        let Some(reference) = cmdline::value(&line, BOOT_PARAMETER) else {
            bail!(
                "this machine was not started from an installed disk; `ros install` installs the \
                 system onto one"
            );
        };
        let lock = File::create(LOCK).with_context(|| format!("making {LOCK}"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            println!("waiting for another command that changes the boot partition");
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)
                .context("locking the boot partition")?;
        }
        let mut opened = BootPartitions { partitions: Vec::new(), _lock: lock };
        for (number, device) in boot_partition::find(Some(reference)).iter().enumerate() {
            opened.partitions.push(mount(device, number)?);
        }
        if opened.partitions.is_empty() {
            bail!(
                "{reference}, which this machine was started from, no longer exists; is its disk \
                 attached?"
            );
        }
        for partition in &opened.partitions {
            partition.repair()?;
            // The command that follows may be the one that helps.
            match partition.repair_entries() {
                Ok(lost) => lost.iter().for_each(|version| println!("{}", lost_drivers(version))),
                Err(error) => eprintln!("the menu could not be repaired: {error:#}"),
            }
        }
        Ok(opened)
    }

    /// The first of them, for reading: they are alike.
    pub fn primary(&self) -> &BootPartition {
        &self.partitions[0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &BootPartition> {
        self.partitions.iter()
    }
}

fn lost_drivers(version: &str) -> String {
    let [_, archive] = drivers::FILES;
    format!(
        "version {version} has lost {archive}: its menu entries no longer name it; \
         `ros os upgrade -i RELEASE --drivers always` adds all drivers to the running version"
    )
}

impl Drop for BootPartitions {
    fn drop(&mut self) {
        for partition in &self.partitions {
            let closed = if partition.root() == Path::new(MEDIUM) {
                mounts::remount(partition.root(), true)
            } else {
                mounts::unmount(partition.root(), false)
            };
            if let Err(error) = closed {
                eprintln!("{error:#}");
            }
        }
    }
}

fn mount(device: &Path, number: usize) -> Result<BootPartition> {
    if is_medium(device) {
        mounts::remount(Path::new(MEDIUM), false)?;
        return Ok(BootPartition::at(Path::new(MEDIUM)));
    }
    // It repairs what it can; other errors show when the partition is mounted.
    let _ = program::run(program::of_system("/usr/sbin/fsck.fat").arg("-a").arg(device));
    let target = PathBuf::from(format!("{MOUNTS}{number}"));
    mount_partition(device, &target)?;
    Ok(BootPartition::at(&target))
}

/// Mounts a boot partition for writing.
pub(crate) fn mount_partition(device: &Path, target: &Path) -> Result<()> {
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: &target.to_string_lossy(),
        kind: block::load_file_system(device)?.map_or("vfat", |system| system.kind),
        flags: MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC,
        data: "",
    })
}

fn is_medium(device: &Path) -> bool {
    let mounted = fs::metadata(MEDIUM).map(|data| data.dev());
    let number = fs::metadata(device).map(|data| data.rdev());
    matches!((mounted, number), (Ok(mounted), Ok(number)) if mounted == number)
}
