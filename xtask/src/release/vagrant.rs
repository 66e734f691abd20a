//! Vagrant's boxes: what is in them, and the keys of the machine in them. Its cloud-config is in
//! `vmtest::vagrant`.

use super::gzip;
use super::ova::{Content, pack};
use super::ovf::{self, Host, Package};
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::path::Path;
use vmtest::vagrant::USER;

/// The public halves of Vagrant's insecure keys. Old versions know the first one only.
const KEYS: [&str; 2] = [
    "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltG\
     EFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSI\
     Fo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NO\
     Td0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8t\
     ehUc9c9WhQ== vagrant insecure public key",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y vagrant \
     insecure public key",
];
const GIB: u64 = 1 << 30;

/// The cloud-config of the machine.
pub(super) fn document() -> String {
    vmtest::vagrant::document(&KEYS)
}

/// What Vagrant reads in the box. Folders are copied by rsync, which the console has; the other
/// ways need drivers of the provider.
fn vagrantfile(provider: &str) -> String {
    format!(
        "Vagrant.configure(\"2\") do |config|
  config.vm.guest = :linux
  config.ssh.username = \"{USER}\"
  config.ssh.shell = \"sh\"
  config.vm.synced_folder \".\", \"/vagrant\", type: \"rsync\"
{provider}end
"
    )
}

/// Writes the box for libvirt; `disk` is a qcow2 file of this virtual size.
pub(super) fn libvirt(disk: &Path, size: u64, output: &Path, epoch: u64) -> Result<()> {
    let metadata = json!({
        "provider": "libvirt",
        "format": "qcow2",
        "virtual_size": size.div_ceil(GIB),
    });
    let file = vagrantfile(
        "  config.vm.provider :libvirt do |libvirt|
    libvirt.driver = \"kvm\"
    libvirt.disk_bus = \"virtio\"
    libvirt.memory = 2048
  end
",
    );
    pack_box(
        &[
            ("metadata.json", Content::Text(&metadata.to_string())),
            ("Vagrantfile", Content::Text(&file)),
            ("box.img", Content::File(disk)),
        ],
        output,
        epoch,
    )
}

/// Writes the box for VirtualBox; `disk` is a VMDK file of this virtual size.
pub(super) fn virtualbox(disk: &Path, size: u64, output: &Path, epoch: u64) -> Result<()> {
    let name = "box-disk1.vmdk";
    let bytes = fs::metadata(disk).with_context(|| format!("reading {}", disk.display()))?.len();
    let envelope = ovf::envelope(&Package {
        host: Host::Virtualbox,
        name: "corral",
        version: crate::image::VERSION,
        disk: (name, bytes),
        capacity: size,
    });
    // The card that Vagrant logs in through is the first one, with this address.
    let file = vagrantfile("  config.vm.base_mac = \"080027C0441A\"\n");
    pack_box(
        &[
            ("metadata.json", Content::Text(&json!({"provider": "virtualbox"}).to_string())),
            ("Vagrantfile", Content::Text(&file)),
            ("box.ovf", Content::Text(&envelope)),
            (name, Content::File(disk)),
        ],
        output,
        epoch,
    )
}

fn pack_box(members: &[(&str, Content<'_>)], output: &Path, epoch: u64) -> Result<()> {
    gzip::write_archive(output, |archive| pack(members, archive, epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::{Layer, Source};
    use vmtest::vagrant::MARK;

    #[test]
    fn the_document_has_no_errors_and_no_key_that_would_come_back() {
        let text = document();
        let layer = Layer::parse(Source::File("vagrant.yml".to_owned()), &text);
        assert_eq!(layer.problems, Vec::new());
        assert_eq!(layer.value.pointer("/users/0/name"), Some(&json!(USER)));
        assert_eq!(layer.value.pointer("/users/0/ssh_authorized_keys"), None);
        let command = layer.value.pointer("/runcmd/0").and_then(|value| value.as_str()).unwrap();
        for key in KEYS {
            assert!(command.lines().any(|line| line == key), "{command}");
        }
        assert!(command.lines().any(|line| line == "KEYS"), "{command}");
        // In this order: a power cut in between must not leave a machine without a key.
        let place = |line: &str| command.lines().position(|other| other == line);
        assert_eq!(place(&format!("[ -e {MARK} ] && exit 0")), Some(1));
        let tail: Vec<&str> = command.lines().rev().take(4).collect();
        assert_eq!(tail, ["sync", &format!("touch {MARK}"), "sync", "fi"]);
    }

    #[test]
    fn a_box_has_its_metadata_first() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, output) = (folder.path().join("disk"), folder.path().join("one.box"));
        fs::write(&disk, "disk").unwrap();
        for (make, names) in [
            (
                libvirt as fn(&Path, u64, &Path, u64) -> Result<()>,
                "metadata.json Vagrantfile box.img",
            ),
            (virtualbox, "metadata.json Vagrantfile box.ovf box-disk1.vmdk"),
        ] {
            make(&disk, 2 * GIB - 1, &output, 1).unwrap();
            let mut tar = std::process::Command::new("tar");
            let listed = crate::sh::output(tar.arg("-tzf").arg(&output)).unwrap();
            assert_eq!(listed.split_whitespace().collect::<Vec<_>>().join(" "), names);
        }
        let mut tar = std::process::Command::new("tar");
        libvirt(&disk, 2 * GIB - 1, &output, 1).unwrap();
        let text = crate::sh::output(tar.arg("-xOzf").arg(&output).arg("metadata.json")).unwrap();
        let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(metadata, json!({"provider": "libvirt", "format": "qcow2", "virtual_size": 2}));
    }
}
