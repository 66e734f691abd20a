//! The disks of a release: one for each set of kernel parameters that platforms need. `cargo xtask
//! release` writes them, and stories boot them. A table, nothing else.
//!
//! All disks have the layout of `ros install`. They differ in kernel parameters only: where the
//! machine looks for its user data, and which console is the first. A metadata service is queried
//! only on the platform that has it: elsewhere a stranger on the network could answer as one.

use crate::installer;
use std::path::PathBuf;

/// Virtual size of the disks in MiB; the state grows at the first boot. Google requires full GiB.
pub const MEBIBYTES: u64 = 2048;

/// Kernel messages and PID 1's go to the first serial line, as clouds show them.
const SERIAL: &str = "console=ttyS0";

/// A disk that is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// A part of the names of its files; empty for the disk that is for any machine.
    pub name: &'static str,
    /// `--install-type`.
    pub kind: &'static str,
    /// `rancher.cloud_init.datasources`; the default of the product if it is empty.
    pub sources: &'static str,
    /// Is its console a serial line?
    pub serial: bool,
    /// Does it have a user that Vagrant logs in as?
    pub vagrant: bool,
}

const DISK: Disk = Disk { name: "", kind: "hybrid", sources: "", serial: false, vagrant: false };
const CLOUD: Disk = Disk { serial: true, ..DISK };

/// The disks.
pub const DISKS: [Disk; 7] = [
    DISK,
    Disk { name: "openstack", sources: "[configdrive,openstack]", ..CLOUD },
    Disk { name: "ec2", kind: "amazon-ebs-hvm", sources: "[ec2]", ..CLOUD },
    Disk { name: "gce", kind: "googlecompute", sources: "[gce]", ..CLOUD },
    Disk { name: "azure", sources: "[azure]", ..CLOUD },
    // Its config drive has no keys if the droplet was made without one.
    Disk { name: "digitalocean", sources: "[configdrive,digitalocean]", ..CLOUD },
    Disk { name: "vagrant", vagrant: true, ..DISK },
];

impl Disk {
    /// The disk of this name.
    pub fn find(name: &str) -> Option<Disk> {
        DISKS.into_iter().find(|disk| disk.name == name)
    }

    /// Arguments of `ros install`.
    pub fn arguments(&self) -> String {
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

    /// As the installer writes it, to a file. `document` is the cloud-config of the machine.
    pub fn to_install(&self, path: PathBuf, document: Option<String>) -> installer::Disk {
        installer::Disk { path, mebibytes: MEBIBYTES, arguments: self.arguments(), document }
    }
}
