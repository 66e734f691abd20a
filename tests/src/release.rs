//! In which files each platform gets one of the disks of `vmtest::platform`. `cargo xtask release`
//! writes them. Stories boot the disks in them if a folder with a release is named, else disks that
//! they install in the same way.

use crate::image::Image;
use crate::installer;
use crate::platform::Disk;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the folder of a release whose disks stories boot.
pub const FOLDER_VARIABLE: &str = "CORRAL_RELEASE";
/// The disk in a package of OVF.
pub const DISK_IN_OVA: &str = "corral-disk1.vmdk";
/// The disk in Google's archive.
pub const DISK_FOR_GCE: &str = "disk.raw";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file that is made of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    pub disk: &'static str,
    pub format: Format,
    /// A part of its name; empty if that of the disk is enough.
    pub name: &'static str,
}

/// A format of disks, or of packages with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Raw,
    RawGz,
    Qcow2,
    /// Stream-optimized, for `import` and in packages.
    Vmdk,
    /// Fixed size.
    Vhd,
    Vhdx,
    Gce,
    OvaVmware,
    OvaVirtualbox,
    VagrantLibvirt,
    VagrantVirtualbox,
}

/// The files.
pub const FILES: [File; 14] = [
    file("", Format::Raw, ""),
    file("", Format::Qcow2, ""),
    file("", Format::Vmdk, ""),
    file("", Format::OvaVmware, "vmware"),
    file("", Format::OvaVirtualbox, "virtualbox"),
    file("", Format::Vhdx, "hyperv"),
    file("openstack", Format::Qcow2, ""),
    file("ec2", Format::Raw, ""),
    file("gce", Format::Gce, ""),
    file("azure", Format::Vhd, ""),
    file("digitalocean", Format::RawGz, ""),
    file("vagrant", Format::Vmdk, "vagrant-disk"),
    file("vagrant", Format::VagrantLibvirt, "vagrant-libvirt"),
    file("vagrant", Format::VagrantVirtualbox, "vagrant-virtualbox"),
];

const fn file(disk: &'static str, format: Format, name: &'static str) -> File {
    File { disk, format, name }
}

/// The folder of the release whose disks stories boot, if one is named.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from)
}

impl File {
    /// The file of this format whose name has this part: `openstack`.
    pub fn find(part: &str, format: Format) -> Result<File> {
        let is_it = |file: &File| file.label() == part && file.format == format;
        let found = FILES.into_iter().find(is_it);
        found.with_context(|| format!("a release has no file {part:?} of the format {format:?}"))
    }

    /// Makes the raw disk that is in this file.
    pub fn make_disk(&self, output: &Path) -> Result<()> {
        let disk = Disk::find(self.disk);
        self.make_disk_like(disk.with_context(|| format!("{self:?} has no disk"))?, output)
    }

    /// The same; without a release, this disk is installed instead of the one that belongs to the
    /// file.
    pub fn make_disk_like(&self, disk: Disk, output: &Path) -> Result<()> {
        if let Some(release) = folder() {
            let file = release.join(self.name(VERSION));
            println!("the disk is that of {}", file.display());
            return self.unpack(&file, output);
        }
        // In its own folder: that of the machine may have its config drive already.
        let work = crate::folder::folder("release-disk")?;
        let disks = [disk.to_install(output.to_path_buf(), None)];
        installer::install(&work, &Image::find()?.archive, &disks)
    }

    /// Writes the disk in a file of this kind as a raw one.
    fn unpack(&self, file: &Path, output: &Path) -> Result<()> {
        ensure!(
            file.is_file(),
            "{} is not there: `cargo xtask release` of this version writes it",
            file.display()
        );
        let inner = self.take_out(file, output)?;
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-O", "raw", "-f", self.format.of_disk()?]);
        run(convert.arg(inner.as_deref().unwrap_or(file)).arg(output))?;
        inner.map_or(Ok(()), |inner| fs::remove_file(inner).context("removing the packed disk"))
    }

    /// Takes the disk out of a package, to a file beside `output`; none if the file is no package.
    fn take_out(&self, file: &Path, output: &Path) -> Result<Option<PathBuf>> {
        let beside = |name: &str| output.with_file_name(name);
        let inner = match self.format {
            Format::RawGz => {
                let inner = beside("unpacked.raw");
                let inside = fs::File::create(&inner);
                let inside = inside.with_context(|| format!("writing {}", inner.display()))?;
                let mut gzip = Command::new("gzip");
                run(gzip.args(["--decompress", "--stdout"]).arg(file).stdout(inside))?;
                inner
            }
            Format::Gce | Format::OvaVmware | Format::OvaVirtualbox => {
                let is_ova = self.format != Format::Gce;
                let member = if is_ova { DISK_IN_OVA } else { DISK_FOR_GCE };
                let inner = beside(member);
                let folder = inner.parent().context("a disk without a folder")?;
                let mut tar = Command::new("tar");
                tar.arg("--extract").arg("--directory").arg(folder);
                run(tar.arg("--file").arg(file).arg(member))?;
                inner
            }
            _ => return Ok(None),
        };
        Ok(Some(inner))
    }

    /// Its name in the release: `corral-1.2.3-openstack-amd64.qcow2`.
    pub fn name(&self, version: &str) -> String {
        let part = self.label();
        let dash = if part.is_empty() { "" } else { "-" };
        format!("corral-{version}{dash}{part}-amd64.{}", self.format.extension())
    }

    /// Is it only a part of other files?
    pub fn is_part(&self) -> bool {
        self.name == "vagrant-disk"
    }

    /// The file with the disk that goes into this package, if it is one.
    pub fn part(&self) -> Option<File> {
        let format = match self.format {
            Format::OvaVmware | Format::OvaVirtualbox | Format::VagrantVirtualbox => Format::Vmdk,
            _ => return None,
        };
        FILES.into_iter().find(|file| file.disk == self.disk && file.format == format)
    }

    /// What its name has between the version and `amd64`.
    fn label(&self) -> &'static str {
        if self.name.is_empty() { self.disk } else { self.name }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    command.env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::piped());
    let output = command.spawn();
    let output = output.and_then(|child| child.wait_with_output());
    let output = output.with_context(|| format!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}

impl Format {
    /// The format of the disk itself, as qemu-img calls it.
    fn of_disk(self) -> Result<&'static str> {
        Ok(match self {
            Format::Raw | Format::RawGz | Format::Gce => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk | Format::OvaVmware | Format::OvaVirtualbox => "vmdk",
            Format::Vhd => "vpc",
            Format::Vhdx => "vhdx",
            Format::VagrantLibvirt | Format::VagrantVirtualbox => {
                bail!("a box of Vagrant: no story boots it")
            }
        })
    }

    fn extension(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::RawGz => "raw.gz",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
            Format::Gce => "tar.gz",
            Format::OvaVmware | Format::OvaVirtualbox => "ova",
            Format::VagrantLibvirt | Format::VagrantVirtualbox => "box",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DISK_FOR_GCE, DISK_IN_OVA, FILES, File, Format, run};
    use crate::platform::DISKS;
    use std::collections::BTreeSet;
    use std::fs;
    use std::process::Command;

    #[test]
    fn each_file_has_a_disk_and_a_name_of_its_own() {
        let names: BTreeSet<String> = FILES.iter().map(|file| file.name("1.2.3")).collect();
        assert_eq!(names.len(), FILES.len());
        assert!(names.contains("corral-1.2.3-amd64.qcow2"), "{names:?}");
        assert!(names.contains("corral-1.2.3-openstack-amd64.qcow2"), "{names:?}");
        for file in FILES {
            assert!(DISKS.iter().any(|disk| disk.name == file.disk), "{file:?}");
            assert_eq!(
                file.part().is_some(),
                file.name(".").contains("virtualbox") || file.format == Format::OvaVmware
            );
        }
        for disk in DISKS {
            assert!(FILES.iter().any(|file| file.disk == disk.name), "{disk:?}");
        }
    }
    #[test]
    fn a_disk_comes_out_of_each_kind_of_file_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let content = [vec![7; 70_000], vec![0; 1 << 20], vec![9; 10_896]].concat();
        let vhd = "qemu-img convert -O vpc -f raw -o subformat=fixed,force_size=on";
        let vmdk = "qemu-img convert -O vmdk -f raw -o subformat=streamOptimized";
        for (part, format, pack) in [
            ("ec2", Format::Raw, "cp disk.raw packed".to_owned()),
            ("digitalocean", Format::RawGz, "gzip --stdout disk.raw > packed".to_owned()),
            ("gce", Format::Gce, "tar --format=oldgnu -Sczf packed disk.raw".to_owned()),
            ("openstack", Format::Qcow2, "qemu-img convert -O qcow2 -f raw disk.raw packed".into()),
            ("hyperv", Format::Vhdx, "qemu-img convert -O vhdx -f raw disk.raw packed".into()),
            ("azure", Format::Vhd, format!("{vhd} disk.raw packed")),
            (
                "vmware",
                Format::OvaVmware,
                format!("{vmdk} disk.raw {DISK_IN_OVA} && tar -cf packed {DISK_IN_OVA}"),
            ),
        ] {
            fs::write(at(DISK_FOR_GCE), &content).unwrap();
            let mut shell = Command::new("sh");
            run(shell.current_dir(folder.path()).args(["-c", &pack])).unwrap();
            let file = File::find(part, format).unwrap();
            file.unpack(&at("packed"), &at("output")).unwrap();
            assert!(fs::read(at("output")).unwrap() == content, "{file:?}");
            assert!(!at(DISK_IN_OVA).exists() && !at("unpacked.raw").exists(), "{file:?}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_has_no_disk_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let file = File::find("gce", Format::Gce).unwrap();
        let why = file.unpack(&at("none.tar.gz"), &at("output")).unwrap_err().to_string();
        assert!(why.contains("none.tar.gz is not there: `cargo xtask release`"), "{why}");
        let archive = at("empty.tar.gz");
        run(Command::new("tar").arg("-czf").arg(&archive).args(["-T", "/dev/null"])).unwrap();
        let why = file.unpack(&archive, &at("output")).unwrap_err().to_string();
        assert!(why.contains("disk.raw: Not found in archive"), "{why}");
        assert!(File::find("gce", Format::Qcow2).is_err());
    }
}
