//! The ISO: a version of the system in `boot/<version>/`, isolinux for BIOS and systemd-boot for
//! UEFI. xorriso writes it as a hybrid image, so that it boots from a CD and from a USB stick.
//!
//! UEFI reads only FAT, so kernel and initrds are in a small FAT image within the ISO. isolinux and
//! Linux read the ISO's own file system. The files are stored once all the same: the ISO's
//! directory says that they begin where the FAT image has them.

use crate::drivers::Drivers;
use crate::packages::{self, Package};
use crate::signed_release::Release;
use crate::{paths, sh};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Volume label: how stage 0 recognizes our medium.
pub(crate) const LABEL: &str = "CORRAL";
/// Volume label of the FAT image within it, which must not be mistaken for a medium.
const EFI_LABEL: &str = "CORRAL_EFI";

/// Packages with files for boot media: the ISO, and the disks that the installer makes.
pub(crate) const PACKAGES: [&str; 4] =
    ["extlinux", "isolinux", "syslinux-common", "systemd-boot-efi"];
/// systemd-boot, as UEFI starts it from a medium by itself.
pub(crate) const SYSTEMD_BOOT: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
/// The modules of isolinux's menu.
pub(crate) const MODULES: [&str; 4] = ["ldlinux.c32", "menu.c32", "libutil.c32", "libcom32.c32"];
/// Where Debian has them.
pub(crate) const MODULES_FOLDER: &str = "usr/lib/syslinux/modules/bios";

/// Kernel parameters of the ISO: automatic login on both consoles; no state disk, but one of Docker
/// Machine, whose driver for VirtualBox starts an ISO without any configuration.
const APPEND: &str = "console=tty1 console=ttyS0 rancher.autologin=tty1 rancher.autologin=ttyS0 \
                      rancher.state.docker_machine=true printk.devkmsg=on panic=10 quiet";
const DEBUG: &str = " rancher.debug=true loglevel=7";
const RECOVERY: &str = " rancher.recovery=true";

/// A block of a CD.
const BLOCK: usize = 2048;

/// Writes the ISO of a release. The full one has its `drivers` too.
pub(crate) fn write(
    release: &Release,
    drivers: Option<&Drivers>,
    output: &Path,
    packages: &[Package],
    epoch: u64,
) -> Result<()> {
    let stage = paths::cache("iso");
    let _ = fs::remove_dir_all(&stage);
    let folder = stage.join("boot").join(&release.version);
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(stage.join("boot/isolinux"))?;
    let images = [("system.erofs", release.system.clone())];
    let images =
        images.into_iter().chain(drivers.map(|drivers| ("drivers.erofs", drivers.image.clone())));
    for (name, file) in release.small_files().into_iter().chain(images) {
        fs::hard_link(&file, folder.join(name))
            .or_else(|_| fs::copy(&file, folder.join(name)).map(|_| ()))?;
    }
    let boot_files = boot_files(release, drivers);
    for (name, _) in &boot_files {
        fs::write(folder.join(name), mark(name))?;
    }
    fs::copy(
        packages::find(packages, "usr/lib/ISOLINUX/isolinux.bin")?,
        stage.join("boot/isolinux/isolinux.bin"),
    )?;
    for module in MODULES {
        let from = packages::find(packages, &format!("{MODULES_FOLDER}/{module}"))?;
        fs::copy(from, stage.join("boot/isolinux").join(module))?;
    }
    fs::write(stage.join("boot/isolinux/isolinux.cfg"), menu(&release.version, drivers.is_some()))?;
    let efi = stage.join("boot/efi.img");
    write_efi_image(&release.version, &boot_files, &efi, packages, epoch)?;
    run_xorriso(&stage, output, packages, epoch)?;
    point_into(output, &efi, &boot_files)?;
    verify(output, &release.version, &boot_files)
}

/// A file that the firmware's loaders read: its name, and where it is.
type BootFile = (&'static str, PathBuf);

fn boot_files(release: &Release, drivers: Option<&Drivers>) -> Vec<BootFile> {
    let mut files = vec![("vmlinuz", release.kernel.clone()), ("initrd", release.initrd.clone())];
    files.extend(drivers.map(|drivers| ("drivers.initrd", drivers.initrd.clone())));
    files
}

fn run_xorriso(stage: &Path, output: &Path, packages: &[Package], epoch: u64) -> Result<()> {
    let date = sh::output(Command::new("date").args([
        "-u",
        "-d",
        &format!("@{epoch}"),
        "+%Y%m%d%H%M%S00",
    ]))?;
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
        // No cylinders: they would round the size up to a full MiB. No padding: it is for CD drives
        // of the last century.
        .args(["-partition_cyl_align", "off", "-no-pad"])
        .args(["-b", "boot/isolinux/isolinux.bin", "-c", "boot/isolinux/boot.cat"])
        .args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
        .args([
            "-eltorito-alt-boot",
            "-e",
            "boot/efi.img",
            "-no-emul-boot",
            "-isohybrid-gpt-basdat",
        ])
        .arg(stage);
    sh::output(&mut command).context("writing the ISO")?;
    Ok(())
}

/// What UEFI starts: a FAT file system with systemd-boot, its menu, kernel and initrd.
fn write_efi_image(
    version: &str,
    files: &[BootFile],
    image: &Path,
    packages: &[Package],
    epoch: u64,
) -> Result<()> {
    let content = paths::cache("efi");
    let _ = fs::remove_dir_all(&content);
    let size = write_efi_folder(version, files, &content, packages)?;
    let date = format!("@{epoch}");
    sh::output(
        Command::new("find").arg(&content).args(["-exec", "touch", "-d", &date, "{}", "+"]),
    )?;
    File::create(image)?.set_len((256 * 1024 + size).next_multiple_of(64 * 1024))?;
    // Clusters of one CD block, so that files begin at blocks.
    let mut format = Command::new("/sbin/mkfs.vfat");
    format.args(["--invariant", "-s", "4", "-n", EFI_LABEL]).arg(image);
    sh::output(format.env("SOURCE_DATE_EPOCH", epoch.to_string()))?;
    // One by one and in order: a copy into an empty file system is contiguous.
    for name in ["boot", "EFI", "loader"] {
        let mut copy = Command::new("mcopy");
        copy.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("TZ", "UTC");
        sh::output(copy.args(["-s", "-m", "-i"]).arg(image).arg(content.join(name)).arg("::"))?;
    }
    Ok(())
}

/// Returns the bytes of kernel and initrds.
fn write_efi_folder(
    version: &str,
    files: &[BootFile],
    content: &Path,
    packages: &[Package],
) -> Result<u64> {
    let boot = content.join("boot").join(version);
    for folder in [&content.join("EFI/BOOT"), &content.join("loader/entries"), &boot] {
        fs::create_dir_all(folder)?;
    }
    fs::copy(packages::find(packages, SYSTEMD_BOOT)?, content.join("EFI/BOOT/BOOTX64.EFI"))?;
    fs::write(
        content.join("loader/loader.conf"),
        format!("default corral-{version}.conf\ntimeout 3\neditor yes\n"),
    )?;
    for (number, (suffix, title, more)) in variants().into_iter().enumerate() {
        let initrds: String = initrds(version, files.len() > 2)
            .iter()
            .map(|path| format!("initrd {path}\n"))
            .collect();
        let text = format!(
            "title Corral {version}{title}\nsort-key corral-{number}\n\
             linux /boot/{version}/vmlinuz\n{initrds}options {}{more}\n",
            append(version)
        );
        fs::write(content.join(format!("loader/entries/corral-{version}{suffix}.conf")), text)?;
    }
    let mut size = 0;
    for (name, file) in files {
        fs::copy(file, boot.join(name))?;
        size += fs::metadata(file)?.len();
    }
    Ok(size)
}

/// The unique content of a placeholder file, until the ISO is written.
fn mark(name: &str) -> Vec<u8> {
    format!("in the place of {name}\n").into_bytes()
}

/// Makes the ISO's directories point to these files in the FAT image.
fn point_into(iso: &Path, efi: &Path, files: &[BootFile]) -> Result<()> {
    let mut bytes = fs::read(iso)?;
    let efi = fs::read(efi)?;
    let efi_at =
        find_blocks(&bytes, &efi).context("the FAT image is not in the ISO in one piece")?;
    let file = File::options().write(true).open(iso)?;
    for (name, source) in files {
        let mark = mark(name);
        let content = fs::read(source)?;
        let at = find_blocks(&efi, &content).with_context(|| {
            format!("{name} is not in the FAT image in one piece, from a block on")
        })?;
        let stand_in =
            find_blocks(&bytes, &mark).with_context(|| format!("nothing stands in for {name}"))?;
        let old = extent(stand_in, mark.len());
        let new = extent(efi_at + at, content.len());
        let mut places = 0;
        // The directories come before all content.
        let directories = ..efi_at.min(stand_in);
        while let Some(place) =
            bytes[directories].windows(old.len()).position(|window| window == old)
        {
            bytes[place..place + new.len()].copy_from_slice(&new);
            file.write_all_at(&new, place as u64)?;
            places += 1;
        }
        // The ISO's own directory and Joliet's.
        ensure!(places == 2, "{name} is in {places} directories of the ISO instead of two");
    }
    file.sync_all().context("writing the ISO")
}

/// Reads the files from the ISO as any reader does, and compares them.
fn verify(iso: &Path, version: &str, files: &[BootFile]) -> Result<()> {
    for (name, source) in files {
        let copy = paths::cache("iso-check");
        let _ = fs::remove_file(&copy);
        let mut command = Command::new("xorriso");
        command.args(["-osirrox", "on", "-indev"]).arg(iso).arg("-extract");
        sh::output(command.arg(format!("/boot/{version}/{name}")).arg(&copy))?;
        if !same(&copy, source)? {
            bail!("{name} of the ISO is not what it should be");
        }
    }
    Ok(())
}

fn same(one: &Path, other: &Path) -> Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    File::open(one)?.read_to_end(&mut left)?;
    File::open(other)?.read_to_end(&mut right)?;
    Ok(left == right)
}

/// Where `content` begins, if it begins at a block.
fn find_blocks(bytes: &[u8], content: &[u8]) -> Option<usize> {
    (0..bytes.len()).step_by(BLOCK).find(|at| bytes[*at..].starts_with(content))
}

/// Block and length in a directory record, each in both byte orders.
fn extent(at: usize, length: usize) -> [u8; 16] {
    let (block, length) = ((at / BLOCK) as u32, length as u32);
    let mut record = [0; 16];
    record[..4].copy_from_slice(&block.to_le_bytes());
    record[4..8].copy_from_slice(&block.to_be_bytes());
    record[8..12].copy_from_slice(&length.to_le_bytes());
    record[12..].copy_from_slice(&length.to_be_bytes());
    record
}

fn append(version: &str) -> String {
    format!("{APPEND} corral.version={version}")
}

/// (suffix of the entry's name, of its title, more parameters)
fn variants() -> [(&'static str, &'static str, &'static str); 3] {
    [
        ("", "", ""),
        ("-debug", ", debug logging", DEBUG),
        ("-recovery", ", recovery console", RECOVERY),
    ]
}

/// What the loaders unpack, in this order.
fn initrds(version: &str, with_drivers: bool) -> Vec<String> {
    let names = ["initrd", "drivers.initrd"];
    let count = if with_drivers { 2 } else { 1 };
    names[..count].iter().map(|name| format!("/boot/{version}/{name}")).collect()
}

fn menu(version: &str, with_drivers: bool) -> String {
    let initrds = initrds(version, with_drivers).join(",");
    let entry = |(suffix, title, more): (&str, &str, &str)| {
        format!(
            "LABEL corral{suffix}\n  MENU LABEL Corral {version}{title}\n  \
             KERNEL /boot/{version}/vmlinuz\n  INITRD {initrds}\n  \
             APPEND {}{more}\n",
            append(version)
        )
    };
    format!(
        "SERIAL 0 115200\nUI menu.c32\nMENU TITLE Corral\nTIMEOUT 30\nPROMPT 0\nDEFAULT corral\n\
         {}LABEL next\n  MENU LABEL Boot next BIOS option\n  LOCALBOOT -1\n",
        variants().map(entry).concat()
    )
}
