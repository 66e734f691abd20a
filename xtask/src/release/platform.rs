//! In which files each platform gets one of the disks of `vmtest::platform`. A table, nothing else.

/// A file that is made of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) disk: &'static str,
    pub(super) format: Format,
    /// A part of its name; empty if that of the disk is enough.
    pub(super) name: &'static str,
}

/// A format of disks, or of packages with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
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
pub(super) const FILES: [File; 14] = [
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
    pub(super) fn name(&self, version: &str) -> String {
        let part = if self.name.is_empty() { self.disk } else { self.name };
        let dash = if part.is_empty() { "" } else { "-" };
        format!("corral-{version}{dash}{part}-amd64.{}", self.format.extension())
    }

    /// Is it only a part of other files?
    pub(super) fn is_part(&self) -> bool {
        self.name == "vagrant-disk"
    }

    /// The file with the disk that goes into this package, if it is one.
    pub(super) fn part(&self) -> Option<File> {
        let format = match self.format {
            Format::OvaVmware | Format::OvaVirtualbox | Format::VagrantVirtualbox => Format::Vmdk,
            _ => return None,
        };
        FILES.into_iter().find(|file| file.disk == self.disk && file.format == format)
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
    use super::*;
    use std::collections::BTreeSet;
    use vmtest::platform::DISKS;

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
    fn a_disk_looks_for_user_data_only_where_its_platform_has_it() {
        for disk in DISKS.iter().filter(|disk| !disk.sources.is_empty()) {
            let names = disk.sources.trim_matches(['[', ']']).split(',');
            for name in names {
                assert!(name == "configdrive" || name == disk.name, "{disk:?}");
                assert!(name.parse::<corral_config::names::DataSource>().is_ok(), "{name}");
            }
        }
        assert_eq!(DISKS[0].arguments(), "-t hybrid");
        assert_eq!(
            DISKS[2].arguments(),
            "-t amazon-ebs-hvm -a 'rancher.cloud_init.datasources=[ec2]'"
        );
        assert_eq!(
            DISKS[4].arguments(),
            "-t hybrid -a 'rancher.cloud_init.datasources=[azure] console=ttyS0'"
        );
    }
}
