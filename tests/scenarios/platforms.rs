//! What a release has for each platform, on machines like those of their platforms, as far as QEMU
//! has the parts: firmware and its DMI strings, disk controller, network card, console, metadata
//! service or drive. Each disk starts with nothing but the platform's own kernel parameters.
//!
//! `cargo xtask test --release-folder` boots the disks in the files of a release; without it, each
//! story installs the same disk itself.
//!
//! The clouds are here. QEMU has no ENA, gVNIC or Hyper-V device without KVM: other cards stand in
//! for them.

mod hypervisors;
mod ipxe;

use anyhow::Result;
use std::ffi::OsString;
use std::path::Path;
use vmtest::metadata::{Service, TOKEN};
use vmtest::release::{File, Format};
use vmtest::report::is_left_out;
use vmtest::{Machine, Medium, Network, Options, drive, folder, servers, shell};

/// A word of all these stories' names.
const WORD: &str = "platforms";
/// The address that DHCP gives in `Network::metadata`.
const ADDRESS: &str = "169.254.2.15";
/// The address of a droplet, which only its config drive gives.
const DROPLET: &str = "10.0.2.20";
const DROPLET_BYTES: [u8; 4] = [10, 0, 2, 20];
/// The disk of a machine, in its folder.
const ROOT: &str = "root.img";

/// What a machine of a platform has, besides what `Options` names.
struct Hardware {
    /// The controller with the disk `root`, as QEMU calls both.
    devices: &'static [&'static str],
    card: &'static str,
    /// The strings of its DMI table, as QEMU takes them.
    firmware: &'static [&'static str],
}

/// What a story expects of its machine.
struct Expected {
    hostname: &'static str,
    /// Of the first card, with its length.
    address: String,
    /// The partition with the state, which names the kind of disk.
    state: &'static str,
    /// Modules of the controller and of the card.
    modules: &'static [&'static str],
}

#[test]
fn ec2_has_nvme_disks_uefi_and_a_service_that_requires_a_token() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-ec2")?;
    let key = shell::make_key(&folder)?;
    let data = "latest/meta-data";
    let service = Service::start(
        &folder,
        &[
            (&format!("{data}/instance-id"), "i-0abcdef1234567890"),
            (&format!("{data}/hostname"), "ip-10-0-0-5.ec2.internal"),
            (&format!("{data}/local-ipv4"), ADDRESS),
            (&format!("{data}/public-keys/index"), "0=me"),
            (&format!("{data}/public-keys/0/openssh-key"), &key),
            ("latest/user-data", &user_data("ec2")),
        ],
        &[
            &format!("/latest/meta-data=X-aws-ec2-metadata-token: {TOKEN}"),
            &format!("/latest/user-data=X-aws-ec2-metadata-token: {TOKEN}"),
        ],
    )?;
    let hardware = Hardware {
        devices: &["nvme,drive=root,serial=vol0abcdef,bootindex=0"],
        card: "e1000e",
        firmware: &["type=0,vendor=Amazon EC2", "type=1,manufacturer=Amazon EC2,product=t3.small"],
    };
    let options = Options { uefi: true, network: answering(&folder, &service)?, ..at_a_cloud() };
    let mut machine = start(&folder, ("ec2", Format::Raw), &hardware, options)?;
    is_as_expected(
        &mut machine,
        "ec2",
        &Expected {
            hostname: "ip-10-0-0-5.ec2.internal",
            address: format!("{ADDRESS}/16"),
            state: "/dev/nvme0n1p1",
            modules: &["nvme", "e1000e"],
        },
    )
}

#[test]
fn gce_has_virtio_scsi_disks_uefi_and_keys_in_attributes() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-gce")?;
    let key = shell::make_key(&folder)?;
    let instance = "computeMetadata/v1/instance";
    let service = Service::start(
        &folder,
        &[
            (&format!("{instance}/hostname"), "web-1.c.story.internal"),
            (&format!("{instance}/network-interfaces/0/ip"), ADDRESS),
            (&format!("{instance}/attributes/ssh-keys"), &format!("me:{key}\n")),
            (&format!("{instance}/attributes/user-data"), &user_data("gce")),
        ],
        &["/=Metadata-Flavor: Google"],
    )?;
    let hardware = Hardware {
        devices: &["virtio-scsi-pci,id=scsi", "scsi-hd,drive=root,bus=scsi.0,bootindex=0"],
        card: "virtio-net-pci",
        firmware: &[
            "type=0,vendor=Google",
            "type=1,manufacturer=Google,product=Google Compute Engine",
        ],
    };
    let options = Options { uefi: true, network: answering(&folder, &service)?, ..at_a_cloud() };
    let mut machine = start(&folder, ("gce", Format::Gce), &hardware, options)?;
    is_as_expected(
        &mut machine,
        "gce",
        &Expected {
            hostname: "web-1.c.story.internal",
            address: format!("{ADDRESS}/16"),
            state: "/dev/sda1",
            modules: &["virtio_scsi", "virtio_net"],
        },
    )
}

/// Generation 1: BIOS, and the CD on IDE. The user data is custom data, which only the CD has.
///
/// Where the firmware is Hyper-V's, ata_piix leaves disks to Hyper-V's own driver: in QEMU, the
/// disk is on a SCSI controller.
#[test]
fn azure_has_a_cd_and_gets_the_report_that_the_machine_is_ready() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-azure")?;
    let key = shell::make_key(&folder)?;
    let service = Service::start(
        &folder,
        &[
            ("metadata/instance", &super::sources::azure_instance(&key)),
            ("machine/index", super::sources::AZURE_GOAL_STATE),
        ],
        &["/metadata=Metadata: true", "/machine=x-ms-version: 2012-11-30"],
    )?;
    let cd = super::sources::azure_cd(&folder, &user_data("azure"))?;
    let relay = servers::relay(&folder, service.server.port)?;
    let services = ["169.254.169.254:80", "168.63.129.16:80"].map(|at| (at, relay.clone())).into();
    let hardware = Hardware {
        devices: &["virtio-scsi-pci,id=scsi", "scsi-hd,drive=root,bus=scsi.0,bootindex=0"],
        card: "e1000",
        firmware: &[
            "type=1,manufacturer=Microsoft Corporation,product=Virtual Machine",
            "type=3,manufacturer=Microsoft Corporation,asset=7783-7084-3265-9085-8269-3286-77",
        ],
    };
    let options = Options {
        // The smallest one with both addresses.
        network: Network::Provider { addresses: "168.0.0.0/7", services },
        extra: in_cd_drive(&cd),
        ..at_a_cloud()
    };
    let mut machine = start(&folder, ("azure", Format::Vhd), &hardware, options)?;
    is_as_expected(
        &mut machine,
        "azure",
        &Expected {
            hostname: "web-1",
            address: "168.0.2.15/7".to_owned(),
            state: "/dev/sda1",
            modules: &["virtio_scsi", "ata_piix", "e1000"],
        },
    )?;
    super::sources::azure_got_its_report(&service)
}

/// Its config drive says how the machine is connected: there is no DHCP server in its networks.
/// QEMU has one, which would give another address, and gets no request.
#[test]
fn digitalocean_has_a_config_drive_and_no_dhcp() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-digitalocean")?;
    let key = shell::make_key(&folder)?;
    let config_drive = Some(drive::make_of_openstack(
        &folder,
        &[
            ("user_data", &user_data("digitalocean")),
            ("meta_data.json", &drive::openstack_metadata("droplet-1", &key)),
            ("network_data.json", &drive::STATIC_NETWORK.replace("10.0.2.15", DROPLET)),
        ],
    )?);
    let hardware = Hardware {
        devices: &["virtio-blk-pci,drive=root,bootindex=0"],
        card: "virtio-net-pci",
        firmware: &["type=1,manufacturer=DigitalOcean,product=Droplet"],
    };
    let (network, recorded) = (Network::Static(DROPLET), vec![0]);
    let options = Options { config_drive, network, recorded, ..at_a_cloud() };
    let mut machine = start(&folder, ("digitalocean", Format::RawGz), &hardware, options)?;
    machine.expect_login()?;
    machine.run(&format!("sudo ros net | grep {DROPLET}/24 | grep static"))?;
    is_as_expected(
        &mut machine,
        "digitalocean",
        &Expected {
            hostname: "droplet-1",
            address: format!("{DROPLET}/24"),
            state: "/dev/vda1",
            modules: &["virtio_blk", "virtio_net"],
        },
    )?;
    let packets = machine.packets(0)?;
    // Its logins are there, so the record is of this card.
    assert!(packets.windows(4).any(|bytes| bytes == DROPLET_BYTES), "nothing is recorded");
    assert!(!super::network::has_dhcp_request(&packets), "a DHCP request of the droplet");
    Ok(())
}

#[test]
fn openstack_without_a_config_drive_has_its_service() -> Result<()> {
    if is_left_out(WORD) {
        return Ok(());
    }
    let folder = folder("platform-openstack")?;
    let key = shell::make_key(&folder)?;
    let latest = "openstack/latest";
    let network = r#"{"links": [{"id": "tap0", "type": "ovs",
        "ethernet_mac_address": "52:54:00:12:34:56", "mtu": 1450}],
        "networks": [{"id": "network0", "link": "tap0", "type": "ipv4_dhcp"}], "services": []}"#;
    let service = Service::start(
        &folder,
        &[
            (&format!("{latest}/meta_data.json"), &drive::openstack_metadata("vm.novalocal", &key)),
            (&format!("{latest}/user_data"), &user_data("openstack")),
            (&format!("{latest}/network_data.json"), network),
        ],
        &[],
    )?;
    let hardware = Hardware {
        devices: &["virtio-blk-pci,drive=root,bootindex=0"],
        card: "virtio-net-pci",
        firmware: &["type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova"],
    };
    let options = Options { network: answering(&folder, &service)?, ..at_a_cloud() };
    let mut machine = start(&folder, ("openstack", Format::Qcow2), &hardware, options)?;
    is_as_expected(
        &mut machine,
        "openstack",
        &Expected {
            hostname: "vm.novalocal",
            address: format!("{ADDRESS}/16"),
            state: "/dev/vda1",
            modules: &["virtio_blk", "virtio_net"],
        },
    )?;
    // It takes effect at the next boot.
    machine.run("sudo grep -q 1450 /var/lib/rancher/conf/cloud-config.d/network.yml").map(drop)
}

fn user_data(platform: &str) -> String {
    format!("#cloud-config\nwrite_files: [{{path: /etc/of-the-story, content: {platform}}}]\n")
}

fn at_a_cloud() -> Options {
    Options { medium: Medium::Disk, ..Options::default() }
}

fn answering(folder: &Path, service: &Service) -> Result<Network> {
    Ok(Network::metadata(servers::relay(folder, service.server.port)?))
}

/// A CD in a drive on IDE, as QEMU arguments.
fn in_cd_drive(cd: &Path) -> Vec<OsString> {
    let drive = format!("if=none,id=cd,media=cdrom,format=raw,readonly=on,file={}", cd.display());
    ["-drive", &drive, "-device", "ide-cd,drive=cd,bus=ide.1"].map(OsString::from).to_vec()
}

/// The part of the name of a platform's file in a release, and its format.
type Named = (&'static str, Format);

/// Starts a machine with the disk in the file of a platform.
fn start(folder: &Path, named: Named, hardware: &Hardware, options: Options) -> Result<Machine> {
    File::find(named.0, named.1)?.make_disk(&folder.join(ROOT))?;
    start_from(folder, hardware, options)
}

/// Starts it with the disk that is in its folder.
fn start_from(folder: &Path, hardware: &Hardware, options: Options) -> Result<Machine> {
    let disk = folder.join(ROOT);
    let root = format!("if=none,id=root,format=raw,cache=unsafe,file={}", disk.display());
    // Without the flag of a hypervisor only the firmware says where the machine is.
    let mut words = vec!["-cpu", "max,svm=off,-hypervisor", "-drive", root.as_str()];
    words.extend(hardware.devices.iter().flat_map(|device| ["-device", device]));
    words.extend(hardware.firmware.iter().flat_map(|text| ["-smbios", text]));
    let mut extra = options.extra.clone();
    extra.extend(words.into_iter().map(OsString::from));
    Machine::start(folder, Options { cards: vec![hardware.card], extra, ..options })
}

/// Its console, which is a serial line, its key, and all that is expected.
fn is_as_expected(machine: &mut Machine, platform: &str, expected: &Expected) -> Result<()> {
    machine.expect_console("corral: started")?;
    machine.expect_login()?;
    has_all(machine, platform, expected)
}

/// Its name, its user data, and its hardware.
fn has_all(machine: &mut Machine, platform: &str, expected: &Expected) -> Result<()> {
    let Expected { hostname, address, state, modules } = expected;
    machine.expect(&format!("[ $(hostname) = {hostname} ]"))?;
    machine.expect(&format!("[ \"$(cat /etc/of-the-story)\" = {platform} ]"))?;
    machine.run(&format!("ip -4 address show eth0 | grep -q 'inet {address} '"))?;
    machine.run(&format!("grep -q '^{state} /home ' /proc/mounts"))?;
    for module in *modules {
        machine.run(&format!("test -e /sys/module/{module}"))?;
    }
    machine.check_alarms()
}
