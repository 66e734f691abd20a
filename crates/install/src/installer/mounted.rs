//! The partitions of an installation while they are mounted: one action at a time.

use super::target;
use crate::release::boot_partitions;
use anyhow::Result;
use corral_machine::boot_partition::BootPartition;
use corral_machine::mounts::{self, Mount};
use corral_machine::{block, modules};
use rustix::mount::MountFlags;
use std::path::Path;

const BOOT: &str = "/run/corral/install/boot";
const STATE: &str = "/run/corral/install/state";

/// Runs an action on a boot partition while it is mounted.
pub(super) fn on_boot<T>(
    device: &Path,
    action: impl FnOnce(&BootPartition) -> Result<T>,
) -> Result<T> {
    boot_partitions::mount_partition(device, Path::new(BOOT))?;
    finish(Path::new(BOOT), action(&BootPartition::at(Path::new(BOOT))))
}

/// Runs an action on the state while it is mounted.
pub(super) fn on_state<T>(device: &Path, action: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    target::mount_state(device, Path::new(STATE))?;
    finish(Path::new(STATE), action(Path::new(STATE)))
}

/// The same for an ext4 file system to which nothing is written: not even its journal is replayed.
pub(super) fn read_state<T>(device: &Path, action: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    modules::load(&["ext4"])?;
    mount_unchanged(device, "ext4", STATE, "noload")?;
    finish(Path::new(STATE), action(Path::new(STATE)))
}

/// The same for a boot partition, if it holds a file system.
pub(super) fn read_boot<T>(
    device: &Path,
    action: impl FnOnce(&BootPartition) -> Result<T>,
) -> Result<Option<T>> {
    let Some(system) = block::load_file_system(device)? else { return Ok(None) };
    mount_unchanged(device, system.kind, BOOT, "")?;
    finish(Path::new(BOOT), action(&BootPartition::at(Path::new(BOOT)))).map(Some)
}

fn mount_unchanged(device: &Path, kind: &str, target: &str, data: &str) -> Result<()> {
    let safe = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target,
        kind,
        flags: MountFlags::RDONLY | safe,
        data,
    })
}

fn finish<T>(target: &Path, done: Result<T>) -> Result<T> {
    let closed = mounts::unmount(target, false);
    let done = done?;
    closed.map(|()| done)
}
