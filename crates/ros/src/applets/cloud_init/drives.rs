//! Drives that data sources are on, mounted read-only.

use anyhow::{Result, bail};
use corral_machine::block::Volume;
use corral_machine::modules;
use corral_machine::mounts::{self, Mount};
use rustix::mount::MountFlags;

/// Where a drive is mounted while it is read.
pub(super) const MOUNT_POINT: &str = "/media/config-2";

pub(super) fn mount(volume: &Volume) -> Result<()> {
    let kind = volume.system.kind;
    match kind {
        "iso9660" => modules::load(&["isofs"])?,
        "vfat" => modules::load(&["vfat", "nls_cp437", "nls_ascii"])?,
        "swap" => bail!("{} is a swap space", volume.device.display()),
        other => modules::load(&[other])?,
    }
    mounts::mount(&Mount {
        source: &volume.device.to_string_lossy(),
        target: MOUNT_POINT,
        kind,
        flags: read_only(),
        data: "",
    })
}

/// A folder that the hypervisor shares, as `-virtfs` of QEMU does.
pub(super) fn mount_shared(tag: &str) -> Result<()> {
    modules::load(&["9p"])?;
    let data = "trans=virtio,version=9p2000.L,cache=none";
    mounts::mount(&Mount { source: tag, target: MOUNT_POINT, kind: "9p", flags: read_only(), data })
}

fn read_only() -> MountFlags {
    MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC
}
