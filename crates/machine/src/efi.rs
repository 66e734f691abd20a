//! Variables of UEFI: which entry systemd-boot starts once.
//! <https://systemd.io/BOOT_LOADER_INTERFACE/>

use crate::mounts::{self, Mount};
use anyhow::{Context, Result};
use rustix::mount::MountFlags;
use std::fs;
use std::path::{Path, PathBuf};

const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// The vendor id of the boot loader interface.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// StoredImage by the firmware; seen while booting and later.
const ATTRIBUTES: u32 = 7;

/// Was this machine started by UEFI?
pub fn is_here() -> bool {
    Path::new("/sys/firmware/efi").exists()
}

/// Has systemd-boot start this entry at the next boot, and only then.
pub fn boot_once(entry: &str) -> Result<()> {
    mount_variables()?;
    let path = variable("LoaderEntryOneShot");
    let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
    for unit in entry.encode_utf16().chain([0]) {
        bytes.extend(unit.to_le_bytes());
    }
    fs::write(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
    let kept = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    anyhow::ensure!(kept == bytes, "the firmware did not store {}", path.display());
    Ok(())
}

fn variable(name: &str) -> PathBuf {
    Path::new(VARIABLES).join(format!("{name}-{LOADER}"))
}

fn mount_variables() -> Result<()> {
    if mounts::is_mount_point(Path::new(VARIABLES)) {
        return Ok(());
    }
    mounts::mount(&Mount {
        source: "efivarfs",
        target: VARIABLES,
        kind: "efivarfs",
        flags: MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        data: "",
    })
}
