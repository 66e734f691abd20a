//! In which files each platform gets one of the disks of `vmtest::platform`. `cargo xtask release`
//! writes them; stories boot what is in them.

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

impl File {
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

impl Format {
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
    use super::{FILES, Format};
    use crate::platform::DISKS;
    use std::collections::BTreeSet;

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
}
