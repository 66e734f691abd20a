//! The media that a machine boots from, and how little it needs.

use anyhow::Result;
use vmtest::folder;
use vmtest::{Machine, Medium, Options, drive, shell};

/// It runs from the system image, so the medium was found. From there on all media are alike.
const PID_1: &str = "PID 1 of Corral";

/// With the disk that the driver of Docker Machine for VirtualBox makes for each ISO.
#[test]
fn the_iso_boots_with_512_mb() -> Result<()> {
    let folder = folder("iso")?;
    let disk = folder.join("docker-machine.img");
    drive::make_boot2docker(&disk, 512, &shell::make_key(&folder)?)?;
    let disks = vec![disk];
    let options = Options { medium: Medium::Iso, memory: 512, disks, ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine
        .run("grep -q '^/dev/vda /home ' /proc/mounts && grep -qx ID=rancheros /etc/os-release")?;
    println!("{}", machine.run("free -m")?);
    machine.check_alarms()
}

#[test]
fn the_iso_boots_by_uefi() -> Result<()> {
    let options = Options { medium: Medium::Iso, uefi: true, ..Options::default() };
    // The shell that the ISO opens on its consoles.
    from_medium("iso-uefi", options, "[rancher@rancher ~]$")
}

#[test]
fn the_iso_boots_from_a_usb_stick() -> Result<()> {
    let options = Options { medium: Medium::UsbStick, ..Options::default() };
    from_medium("iso-usb", options, PID_1)
}

#[test]
fn the_iso_boots_from_a_usb_stick_by_uefi() -> Result<()> {
    let options = Options { medium: Medium::UsbStick, uefi: true, ..Options::default() };
    from_medium("iso-usb-uefi", options, PID_1)
}

fn from_medium(name: &str, options: Options, until: &str) -> Result<()> {
    let folder = folder(name)?;
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_console(until)?;
    machine.check_alarms()
}

#[test]
fn without_a_network_card_there_is_a_console_all_the_same() -> Result<()> {
    let folder = folder("no-nic")?;
    // Its image cannot be pulled: the built-in console runs, and its banner names the other.
    let append = "rancher.autologin=ttyS0 rancher.console=alpine".to_owned();
    let mut machine = Machine::start(&folder, Options { nics: 0, append, ..Options::default() })?;
    machine.expect_console("[rancher@rancher ~]$")?;
    println!("a shell on the console {:.1} s after the start of QEMU", machine.age().as_secs_f32());
    machine
        .type_until("cat /etc/issue", "The console alpine is not used: the built-in one runs.")?;
    machine.type_until("grep ^ID= /etc/os-release", "ID=corral")?;
    machine.check_alarms()
}

/// As DigitalOcean and OpenStack have them where there is no DHCP server.
#[test]
fn a_vfat_config_drive_is_read_with_its_network() -> Result<()> {
    let folder = folder("vfat")?;
    let key = shell::make_key(&folder)?;
    let config_drive = Some(drive::make_of_openstack(
        &folder,
        &[
            ("user_data", "#cloud-config\nhostname: by-vfat\n"),
            ("meta_data.json", &drive::openstack_metadata("by-metadata", &key)),
            ("network_data.json", drive::STATIC_NETWORK),
        ],
    )?);
    let mut machine = Machine::start(&folder, Options { config_drive, ..Options::default() })?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "by-vfat");
    machine.run("sudo ros net | grep 10.0.2.15/24 | grep static")?;
    machine.run("ip route | grep -q '^default via 10.0.2.2 '")?;
    machine.check_alarms()
}

#[test]
fn nocloud_is_read_with_its_metadata() -> Result<()> {
    from_drive("nocloud", drive::Kind::NoCloud, "", "from-metadata")
}

/// The OVF properties of an appliance, as a hypervisor passes them on a CD.
#[test]
fn an_ovf_environment_on_a_cd_is_read() -> Result<()> {
    let folder = folder("ovf")?;
    let key = shell::make_key(&folder)?;
    let user_data = format!("#cloud-config\nssh_authorized_keys: [{key}]\n");
    let environment = drive::ovf_environment("by-ovf", &user_data);
    let config_drive =
        Some(drive::make(&folder, drive::Kind::OvfTransport, environment.as_bytes())?);
    let append = "rancher.cloud_init.datasources=[vmware]".to_owned();
    let mut machine =
        Machine::start(&folder, Options { config_drive, append, ..Options::default() })?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "by-ovf");
    machine.check_alarms()
}

fn from_drive(name: &str, kind: drive::Kind, more: &str, hostname: &str) -> Result<()> {
    let folder = folder(name)?;
    let key = shell::make_key(&folder)?;
    let text = format!("#cloud-config\nssh_authorized_keys: [{key}]\n{more}");
    let config_drive = Some(drive::make(&folder, kind, text.as_bytes())?);
    let mut machine = Machine::start(&folder, Options { config_drive, ..Options::default() })?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, hostname);
    machine.check_alarms()
}
