//! Which disks a release has, and in which files each platform gets one. A table, nothing else.
//!
//! All disks have the layout of `ros install`. They differ in kernel parameters only: where the
//! machine looks for its user data, and which console is the first. A metadata service is queried
//! only on the platform that has it: elsewhere a stranger on the network could answer as one.

/// Virtual size of the disks in MiB; the state grows at the first boot. Google requires full GiB.
pub(super) const MEBIBYTES: u64 = 2048;

/// Kernel messages and PID 1's go to the first serial line, as clouds show them.
const SERIAL: &str = "console=ttyS0";

/// A disk that is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    /// A part of the names of its files; empty for the disk that is for any machine.
    pub(super) name: &'static str,
    /// `--install-type`.
    pub(super) kind: &'static str,
    /// `rancher.cloud_init.datasources`; the default of the product if it is empty.
    pub(super) sources: &'static str,
    /// Is its console a serial line?
    pub(super) serial: bool,
    /// Does it have a user that Vagrant logs in as?
    pub(super) vagrant: bool,
}

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

const DISK: Disk = Disk { name: "", kind: "hybrid", sources: "", serial: false, vagrant: false };
const CLOUD: Disk = Disk { serial: true, ..DISK };

/// The disks.
pub(super) const DISKS: [Disk; 7] = [
    DISK,
    Disk { name: "openstack", sources: "[configdrive,openstack]", ..CLOUD },
    Disk { name: "ec2", kind: "amazon-ebs-hvm", sources: "[ec2]", ..CLOUD },
    Disk { name: "gce", kind: "googlecompute", sources: "[gce]", ..CLOUD },
    Disk { name: "azure", sources: "[azure]", ..CLOUD },
    // Its config drive has no keys if the droplet was made without one.
    Disk { name: "digitalocean", sources: "[configdrive,digitalocean]", ..CLOUD },
    Disk { name: "vagrant", vagrant: true, ..DISK },
];

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

impl Disk {
    /// Arguments of `ros install`.
    pub(super) fn arguments(&self) -> String {
        let sources = match self.sources {
            "" => String::new(),
            sources => format!("rancher.cloud_init.datasources={sources}"),
        };
        // The types of clouds have that console already.
        let console = if self.serial && self.kind == DISK.kind { SERIAL } else { "" };
        let parameters = format!("{sources} {console}");
        match parameters.trim() {
            "" => format!("-t {}", self.kind),
            parameters => format!("-t {} -a '{parameters}'", self.kind),
        }
    }
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
