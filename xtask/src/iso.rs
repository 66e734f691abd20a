//! The ISO: kernel, initrd and system.erofs side by side, isolinux for BIOS, written as a hybrid image so that it
//! boots from a CD and from a USB stick. Written by xorriso.

use crate::packages::{self, Package};
use crate::{paths, sh};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Volume label: how stage 0 knows our medium.
pub(crate) const LABEL: &str = "CORRAL";

/// Packages whose files the ISO needs.
pub(crate) const PACKAGES: [&str; 2] = ["isolinux", "syslinux-common"];

/// Kernel parameters of the ISO: a login on every console that there is, no state disk.
const APPEND: &str = "console=tty1 console=ttyS0 rancher.autologin=tty1 rancher.autologin=ttyS0 printk.devkmsg=on panic=10 quiet";

/// Writes the ISO from what stands in `target/image`.
pub(crate) fn write(
    folder: &Path,
    output: &Path,
    version: &str,
    packages: &[Package],
    epoch: u64,
) -> Result<()> {
    let stage = paths::cache("iso");
    let _ = fs::remove_dir_all(&stage);
    fs::create_dir_all(stage.join("boot/isolinux"))?;
    for name in ["vmlinuz", "initrd", "system.erofs"] {
        let target = stage.join("boot").join(name);
        fs::hard_link(folder.join(name), &target)
            .or_else(|_| fs::copy(folder.join(name), &target).map(|_| ()))?;
    }
    fs::copy(
        packages::find(packages, "usr/lib/ISOLINUX/isolinux.bin")?,
        stage.join("boot/isolinux/isolinux.bin"),
    )?;
    for module in ["ldlinux.c32", "menu.c32", "libutil.c32", "libcom32.c32"] {
        let from = packages::find(packages, &format!("usr/lib/syslinux/modules/bios/{module}"))?;
        fs::copy(from, stage.join("boot/isolinux").join(module))?;
    }
    fs::write(stage.join("boot/isolinux/isolinux.cfg"), menu(version))?;
    let date = sh::output(Command::new("date").args(["-u", "-d", &format!("@{epoch}"), "+%Y%m%d%H%M%S00"]))?;
    let date = date.trim();
    let mut command = Command::new("xorriso");
    command
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .args(["-as", "mkisofs", "-quiet", "-o"])
        .arg(output)
        .args(["-V", LABEL, "-J", "-R", "-r"])
        .arg(format!("--modification-date={date}"))
        .args(["--set_all_file_dates", date])
        .arg("-isohybrid-mbr")
        .arg(packages::find(packages, "usr/lib/ISOLINUX/isohdpfx.bin")?)
        // No cylinders: they would round the size up to a whole MiB. No padding: it is for CD drives of the last century.
        .args(["-partition_cyl_align", "off", "-no-pad"])
        .args(["-b", "boot/isolinux/isolinux.bin", "-c", "boot/isolinux/boot.cat"])
        .args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
        .arg(&stage);
    sh::output(&mut command).context("writing the ISO")?;
    Ok(())
}

fn menu(version: &str) -> String {
    let entry = |name: &str, title: &str, extra: &str| {
        format!(
            "LABEL {name}\n  MENU LABEL {title}\n  KERNEL /boot/vmlinuz\n  INITRD /boot/initrd\n  APPEND {APPEND}{extra}\n"
        )
    };
    format!(
        "SERIAL 0 115200\nUI menu.c32\nMENU TITLE Corral\nTIMEOUT 30\nPROMPT 0\nDEFAULT corral\n{}{}",
        entry("corral", &format!("Corral {version}"), ""),
        entry("debug", &format!("Corral {version}, debug logging"), " rancher.debug=true loglevel=7"),
    )
}
