//! Hardware whose drivers the system image leaves out: it works with the full ISO and with a disk
//! that this installed. The small ISO names what is missing.

use super::install::SERIAL;
use super::says_all;
use anyhow::Result;
use std::ffi::OsString;
use std::path::Path;
use vmtest::report::skipped;
use vmtest::{Image, Machine, Medium, Options, drive, folder, shell};

/// Controllers of QEMU, and their modules. The first one has the disk that is started.
const CONTROLLERS: [(&str, &str); 3] =
    [("lsi53c895a", "sym53c8xx"), ("am53c974", "am53c974"), ("mptsas1068", "mptsas")];
/// Linux does not find the disks of the third one in QEMU.
const WITH_DISK: usize = 2;
/// MiB of the disk behind the first controller, which is installed to; the others have fewer.
const DISK: u64 = 4096;

#[test]
fn hardware_of_the_second_tier_boots_from_the_full_iso_and_from_a_disk_behind_it() -> Result<()> {
    if Image::find()?.full_iso.is_none() {
        skipped("there is no full ISO: `cargo xtask test --all` and `--story drivers` build it");
        return Ok(());
    }
    let folder = folder("drivers")?;
    let extra = controllers(&folder)?;
    let cards = vec!["i82551", "tulip"];
    let options = Options { nics: 2, cards, extra, ..Options::default() };
    from_the_iso(&folder, Options { medium: Medium::FullIso, ..options.clone() })?;
    let sticks = vec![Image::find()?.releases.join("next.oci.tar")];
    from_the_disk(&folder, Options { medium: Medium::Disk, sticks, ..options })
}

/// Every disk and both cards work; the installation takes the drivers along by itself.
fn from_the_iso(folder: &Path, options: Options) -> Result<()> {
    let mut machine = super::with_config(folder, "", options)?;
    machine.expect_login()?;
    has_all_drivers(&mut machine)?;
    let disk = machine.run(&format!(
        "for disk in /sys/block/sd*; do
         [ $(cat $disk/size) != {} ] || echo /dev/${{disk##*/}}; done",
        DISK * 2048
    ))?;
    let key = shell::make_key(folder)?;
    machine.run(&super::install::write_config(&key))?;
    let said = machine.run(&format!(
        "sudo ros install -d {disk} -c /tmp/my.yml -a {SERIAL} --no-reboot -f 2>&1"
    ))?;
    says_all(&said, &["drivers    all, ", "needs the driver sym53c8xx", "is installed on"]);
    machine.power_off()
}

/// The firmware starts the disk, and the second initrd finds it. An upgrade that would lose the
/// disk is refused.
fn from_the_disk(folder: &Path, options: Options) -> Result<()> {
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "installed");
    has_all_drivers(&mut machine)?;
    machine.run("cd /run/corral/medium/boot && ls */drivers.erofs */drivers.initrd")?;
    let said = machine.run("! sudo ros os upgrade -i /dev/vda -f 2>&1")?;
    says_all(&said, &["comes without drivers.erofs", "sym53c8xx", "nothing was changed"]);
    let said = machine.run("sudo ros os upgrade -i /dev/vda --drivers never --plan 2>&1")?;
    says_all(&said, &["needs the driver sym53c8xx, which is left out"]);
    machine.power_off()
}

fn has_all_drivers(machine: &mut Machine) -> Result<()> {
    for (_, module) in CONTROLLERS {
        machine.run(&format!("ls -d /sys/bus/pci/drivers/{module}/0000:*"))?;
    }
    machine.expect(&format!("[ $(ls -d /sys/block/sd* | wc -l) = {WITH_DISK} ]"))?;
    // The second card has an address by DHCP too: its driver sends and receives.
    machine.expect("ip -4 address show dev eth0 | grep -q 'inet 10.0.2.'")?;
    machine.expect("ip -4 address show dev eth1 | grep -q 'inet 10.0.3.'")?;
    machine.run("sudo ls /proc/1/root/lib/firmware/e100/d102e_ucode.bin")?;
    machine.run("ls /lib/modules/*/kernel/fs/ext4/ext4.ko")?;
    // Some services may still be starting, which it reports too.
    let said = machine.run("sudo ros why || true")?;
    assert!(!said.contains("drivers:"), "{said}");
    Ok(())
}

#[test]
fn the_small_iso_names_the_drivers_that_devices_need() -> Result<()> {
    let folder = folder("small-iso")?;
    let extra = controllers(&folder)?;
    let cards = vec!["virtio-net-pci", "tulip"];
    let options = Options { medium: Medium::Iso, nics: 2, cards, extra, ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    let said = machine.run("sudo ros why || true")?;
    let console = machine.console();
    for module in CONTROLLERS.map(|(_, module)| module).into_iter().chain(["tulip"]) {
        let named = format!("needs the driver {module}, which only the full image has");
        assert!(said.contains(&named), "{named} is not in:\n{said}");
        assert!(console.contains(&named), "{named} is not on the console");
    }
    let said = machine.run("! sudo ros install -d /dev/vda --drivers always -f 2>&1")?;
    says_all(&said, &["comes without drivers.erofs here: use the full ISO"]);
    machine.check_alarms()
}

/// The controllers with their disks; the firmware may start the first disk.
fn controllers(folder: &Path) -> Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    for (number, (model, _)) in CONTROLLERS.iter().enumerate() {
        arguments.push("-device".to_owned());
        arguments.push(format!("{model},id=controller{number}"));
        if number >= WITH_DISK {
            continue;
        }
        let disk = folder.join(format!("{model}.img"));
        drive::blank(&disk, if number == 0 { DISK } else { 64 })?;
        arguments.push("-drive".to_owned());
        arguments.push(format!("if=none,id={model},format=raw,file={}", disk.display()));
        arguments.push("-device".to_owned());
        let boot = if number == 0 { ",bootindex=9" } else { "" };
        arguments.push(format!("scsi-hd,bus=controller{number}.0,drive={model}{boot}"));
    }
    Ok(arguments.into_iter().map(OsString::from).collect())
}
