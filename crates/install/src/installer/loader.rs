//! What the firmware starts: extlinux on the boot partition and a boot record for BIOS,
//! systemd-boot for UEFI.

use super::disk::Disk;
use super::kind::Kind;
use anyhow::{Context, Result};
use corral_machine::boot_partition::BootPartition;
use corral_machine::program;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const LOADERS: &str = "/usr/share/ros/loaders";
const MODULES: [&str; 3] = ["menu.c32", "libutil.c32", "libcom32.c32"];
/// Bytes of code in the boot record; the partition table follows.
pub(super) const BOOT_CODE: usize = 440;

/// The part of the menu that never changes. The versions are in the included file, which fits in
/// one sector and names the default.
const SYSLINUX: &str = "SERIAL 0 115200
UI menu.c32
MENU TITLE Corral
TIMEOUT 30
PROMPT 0
INCLUDE /boot/current.cfg
";
const NEXT: &str = "LABEL next
  MENU LABEL Boot next BIOS option
  LOCALBOOT -1
";

/// An entry of the menu besides the versions. It is the default as long as there is no version.
#[derive(Debug, Clone, Copy)]
pub(super) struct OtherEntry<'a> {
    pub(super) label: &'a str,
    /// The file with the entry, on the boot partition.
    pub(super) file: &'a str,
}

/// Installs the loaders of this type on a mounted boot partition.
pub(super) fn install(
    partition: &BootPartition,
    kind: Kind,
    other: Option<OtherEntry<'_>>,
) -> Result<()> {
    if kind.has_uefi() {
        for target in ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"] {
            copy("systemd-bootx64.efi", &partition.root().join(target))?;
        }
    }
    if kind.has_bios() {
        let folder = partition.root().join("boot/syslinux");
        for module in MODULES {
            copy(module, &folder.join(module))?;
        }
        fs::write(folder.join("syslinux.cfg"), menu(other)).context("writing syslinux.cfg")?;
        program::run(program::of_system("/usr/bin/extlinux").arg("--install").arg(&folder))
            .context("installing extlinux")?;
    }
    Ok(())
}

/// `syslinux.cfg`. Of several defaults the last one takes effect, and a file that is not there is
/// passed over.
fn menu(other: Option<OtherEntry<'_>>) -> String {
    match other {
        None => format!("{SYSLINUX}{NEXT}"),
        Some(OtherEntry { label, file }) => {
            format!("DEFAULT {label}\n{SYSLINUX}INCLUDE {file}\n{NEXT}")
        }
    }
}

/// Writes the code that BIOS starts; the partition table stays.
pub(super) fn write_boot_record(disk: &Disk, kind: Kind) -> Result<()> {
    if !kind.has_bios() {
        return Ok(());
    }
    let code = boot_code(kind)?;
    let device = OpenOptions::new()
        .write(true)
        .open(&disk.path)
        .with_context(|| format!("opening {}", disk.path.display()))?;
    device
        .write_all_at(&code, 0)
        .and_then(|()| device.sync_all())
        .with_context(|| format!("writing the boot record of {}", disk.path.display()))
}

/// The code of a boot record.
pub(super) fn boot_code(kind: Kind) -> Result<Vec<u8>> {
    let name = if kind.has_gpt() { "gptmbr.bin" } else { "mbr.bin" };
    let mut code =
        fs::read(Path::new(LOADERS).join(name)).with_context(|| format!("reading {name}"))?;
    code.resize(BOOT_CODE, 0);
    Ok(code)
}

fn copy(name: &str, target: &Path) -> Result<()> {
    let folder = target.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::copy(Path::new(LOADERS).join(name), target)
        .with_context(|| format!("copying {name} to {}", target.display()))?;
    Ok(())
}
