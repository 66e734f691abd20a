//! Hypervisors that people run themselves. None has a metadata service: user data is on a CD. All
//! of them get the disk for any machine, whose console is the screen.

use super::{Expected, Hardware, ROOT, WORD, has_all, in_cd_drive, start, start_from, user_data};
use crate::says_all;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use vmtest::platform::Disk;
use vmtest::release::{self, File, Format};
use vmtest::report::is_left_out;
use vmtest::{Machine, Medium, Options, agent, drive, folder, shell};

/// The name of the disk that is for any machine.
const ANY: &str = "";

/// User data as Proxmox writes it.
const PROXMOX: &str = include_str!("../../../crates/config/tests/platforms/proxmox.yml");
/// A static address, as Proxmox writes it. DHCP would give the same one.
const NETWORK_OF_PROXMOX: &str = "\
version: 1
config:
    - type: physical
      name: eth0
      mac_address: '52:54:00:12:34:56'
      subnets:
      - type: static
        address: '10.0.2.15'
        netmask: '255.255.255.0'
        gateway: '10.0.2.2'
    - type: nameserver
      address:
      - '10.0.2.3'
      search:
      - 'lab.example'
";

/// By BIOS: Debian's UEFI firmware for QEMU has no driver of this controller.
///
/// QEMU's backdoor has no guestinfo; an OVF environment on a CD holds the same keys.
#[test]
fn vmware_has_a_paravirtual_controller_and_an_ovf_environment() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-vmware")?;
    let cd = disk_and_cd_of_vmware(&folder)?;
    let hardware = Hardware {
        devices: &["pvscsi,id=scsi", "scsi-hd,drive=root,bus=scsi.0,bootindex=0"],
        card: "vmxnet3",
        firmware: &["type=1,manufacturer=VMware,, Inc.,product=VMware Virtual Platform"],
    };
    let mut machine = start_from(&folder, &hardware, with_cd(&cd))?;
    is_a_guest(&mut machine, "VMware, which talks to open-vm-tools")?;
    has_all(
        &mut machine,
        "vmware",
        &Expected {
            hostname: "vm-1",
            address: "10.0.2.15/24".to_owned(),
            state: "/dev/sda1",
            modules: &["vmw_pvscsi", "ata_piix", "vmxnet3"],
        },
    )
}

/// QEMU's processors never name VMware, by which its source is added to the list of sources: a
/// kernel parameter names it here. The disk of a release has no such parameter. There, the CD has
/// what any machine reads.
fn disk_and_cd_of_vmware(folder: &Path) -> Result<PathBuf> {
    let file = File::find("vmware", Format::OvaVmware)?;
    let user_data = with_key(folder, "vmware")?;
    let any = Disk::find(ANY).context("no disk for any machine")?;
    file.make_disk_like(Disk { sources: "[vmware]", ..any }, &folder.join(ROOT))?;
    if release::folder().is_some() {
        let metadata = "instance-id: one\nlocal-hostname: vm-1\n";
        let files = [("user-data", user_data.as_str()), ("meta-data", metadata)];
        return drive::make_of_nocloud(folder, &files);
    }
    let environment = drive::ovf_environment("vm-1", &user_data);
    drive::make(folder, drive::Kind::OvfTransport, environment.as_bytes())
}

#[test]
fn virtualbox_has_sata_disks_and_a_cd_with_the_seed() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-virtualbox")?;
    let text = with_key(&folder, "virtualbox")?;
    let cd = drive::make(&folder, drive::Kind::NoCloud, text.as_bytes())?;
    let hardware = Hardware {
        devices: &["ich9-ahci,id=ahci", "ide-hd,drive=root,bus=ahci.0,bootindex=0"],
        card: "e1000",
        firmware: &[
            "type=0,vendor=innotek GmbH",
            "type=1,manufacturer=innotek GmbH,product=VirtualBox",
        ],
    };
    let mut machine =
        start(&folder, ("virtualbox", Format::OvaVirtualbox), &hardware, with_cd(&cd))?;
    is_a_guest(&mut machine, "VirtualBox")?;
    has_all(
        &mut machine,
        "virtualbox",
        &Expected {
            hostname: "from-metadata",
            address: "10.0.2.15/24".to_owned(),
            state: "/dev/sda1",
            modules: &["ahci", "ata_piix", "e1000", "vboxguest"],
        },
    )
}

/// Generation 1: BIOS, and the CD on IDE. The agents need a device that only Hyper-V has.
///
/// Its disk is on IDE too, where ata_piix leaves it to Hyper-V's own driver. QEMU has nothing for
/// that driver, so the same ATA disk is on AHCI, whose driver serves it under any firmware. The
/// legacy card of Hyper-V needs `tulip`, which only the full image has: e1000 stands in for it.
#[test]
fn hyper_v_has_ata_disks_bios_and_a_config_drive_in_its_cd_drive() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-hyper-v")?;
    let metadata = drive::openstack_metadata("hyper-v-1", &shell::make_key(&folder)?);
    let text = user_data("hyper-v");
    let cd = drive::make_with_metadata(&folder, text.as_bytes(), &metadata)?;
    let hardware = Hardware {
        devices: &["ich9-ahci,id=ahci", "ide-hd,drive=root,bus=ahci.0,bootindex=0"],
        card: "e1000",
        firmware: &[
            "type=0,vendor=American Megatrends Inc.",
            "type=1,manufacturer=Microsoft Corporation,product=Virtual Machine",
        ],
    };
    let mut machine = start(&folder, ("hyperv", Format::Vhdx), &hardware, with_cd(&cd))?;
    is_a_guest(&mut machine, "Hyper-V")?;
    has_all(
        &mut machine,
        "hyper-v",
        &Expected {
            hostname: "hyper-v-1",
            address: "10.0.2.15/24".to_owned(),
            state: "/dev/sda1",
            modules: &["ahci", "ata_piix", "e1000"],
        },
    )
}

/// With what its form *Cloud-Init* writes, and one more key as in a snippet.
#[test]
fn proxmox_has_virtio_scsi_disks_and_its_cloud_init_drive() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-proxmox")?;
    let cd = drive::make_of_nocloud(
        &folder,
        &[
            ("user-data", &of_proxmox(&shell::make_key(&folder)?)),
            ("network-config", NETWORK_OF_PROXMOX),
            ("meta-data", "instance-id: 5d4c0b3a2918f7e6d5c4b3a29180f7e6d5c4b3a2\n"),
            ("vendor-data", ""),
        ],
    )?;
    let hardware = Hardware {
        devices: &["virtio-scsi-pci,id=scsihw0", "scsi-hd,drive=root,bus=scsihw0.0,bootindex=0"],
        card: "virtio-net-pci",
        // The other strings are QEMU's own.
        firmware: &["type=1,uuid=d8e02d56-2648-49a3-bf97-6be8f1204f38"],
    };
    let mut options = with_cd(&cd);
    options.extra.extend(agent::channel(&folder));
    let mut machine = start(&folder, (ANY, Format::Qcow2), &hardware, options)?;
    is_a_guest(&mut machine, "QEMU (emulation), which talks to qemu-guest-agent")?;
    machine.run("sudo ros net | grep 10.0.2.15/24 | grep static")?;
    machine.login_as("ops").run("true")?;
    has_all(
        &mut machine,
        "proxmox",
        &Expected {
            hostname: "vm-100",
            address: "10.0.2.15/24".to_owned(),
            state: "/dev/sda1",
            modules: &["virtio_scsi", "ata_piix", "virtio_net"],
        },
    )
}

/// With the key of the story instead of the one that is there.
fn of_proxmox(key: &str) -> String {
    let line = |line: &str| match line.starts_with("  - ssh-") {
        true => format!("  - {key}\n"),
        false => format!("{line}\n"),
    };
    let text: String = PROXMOX.lines().map(line).collect();
    text + user_data("proxmox").trim_start_matches("#cloud-config\n")
}

/// User data of the story, with its key.
fn with_key(folder: &Path, platform: &str) -> Result<String> {
    let key = shell::make_key(folder)?;
    Ok(format!("{}ssh_authorized_keys: [{key}]\n", user_data(platform)))
}

/// A machine with a disk and this CD.
fn with_cd(cd: &Path) -> Options {
    Options { medium: Medium::Disk, extra: in_cd_drive(cd), ..Options::default() }
}

/// Its key, its console, and its hypervisor. Docker works on its disk.
fn is_a_guest(machine: &mut Machine, hypervisor: &str) -> Result<()> {
    machine.expect_login()?;
    // The last one is /dev/console.
    machine.run("grep -q 'tty1$' /sys/class/tty/console/active")?;
    machine.expect_docker()?;
    says_all(&machine.run("ros status")?, &[&format!("hypervisor  {hypervisor}\n")]);
    Ok(())
}
