//! Onto disks, and from each of them by the firmware it is for. The mirror is installed from the
//! ISO in QEMU, and so is an encrypted state. The others are installed in User-Mode Linux, which
//! takes seconds: the program is the same.

use anyhow::{Context, Result};
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use vmtest::folder;
use vmtest::installer::{self, device};
use vmtest::report::is_left_out;
use vmtest::{Image, Machine, Medium, Options, drive, servers, shell};

/// MiB of a disk to install to; the file is sparse.
const DISK: u64 = 4096;

const DISK_NAME: &str = "disk.img";

/// (type, boots by BIOS, boots by UEFI)
const TYPES: [(&str, bool, bool); 6] = [
    ("hybrid", true, true),
    ("efi", false, true),
    ("gptsyslinux", true, false),
    ("generic", true, false),
    // As hybrid; once by each firmware.
    ("amazon-ebs-hvm", true, false),
    ("googlecompute", false, true),
];

/// Two more disks: one with partitions that the owner has made, and one that boots as an NVMe disk.
const NOFORMAT: &str = "noformat";
const NVME: &str = "nvme";

/// The type that boots until its prompt, by both firmwares. Once PID 1 has found the state, the
/// others go on in the same way: they differ only up to there.
const UNTIL_PROMPT: &str = "hybrid";

/// The type that is installed to its disk through a loop device.
const BY_LOOP: &str = "googlecompute";

/// Kernel parameters of installed machines: the console that stories read.
pub(crate) const SERIAL: &str = "console=ttyS0";

#[test]
fn every_type_is_installed_without_a_network_and_boots_by_its_firmware() -> Result<()> {
    let folder = folder("install")?;
    let mut disks = Vec::new();
    for name in TYPES.map(|(name, ..)| name).into_iter().chain([NOFORMAT, NVME]) {
        let disk = folder.join(format!("{name}.img"));
        drive::blank(&disk, DISK)?;
        disks.push(disk);
    }
    let release = device(disks.len())?;
    let install = format!("sudo ros install -i {release} -a {SERIAL} --no-reboot");
    let by_service = format!("{install} -d {} -c /tmp/my.yml -f", device(TYPES.len() + 1)?);
    // The proxy is invalid: a step that needed the network would fail.
    let config = format!(
        "rancher:\n  network: {{http_proxy: invalid, https_proxy: invalid}}\n{}",
        service(&by_service)
    );
    let sticks = vec![Image::find()?.archive];
    let options = Options { disks: disks.clone(), sticks, ..Options::default() };
    let mut machine = super::with_config(&folder, &config, options)?;
    machine.expect_login()?;
    refusals(&machine, &release)?;
    machine.run(&write_config(&shell::make_key(&folder)?))?;
    for (number, (name, ..)) in TYPES.iter().enumerate() {
        let mut device = device(number)?;
        if *name == BY_LOOP {
            machine.run(&format!("sudo modprobe loop; sudo losetup -P /dev/loop7 {device}"))?;
            "/dev/loop7".clone_into(&mut device);
        }
        let said = if *name == "generic" {
            by_choosing(&machine, &install)?
        } else {
            machine.run(&format!("{install} -t {name} -d {device} -c /tmp/my.yml -f"))?
        };
        assert!(said.contains("is installed on"), "{said}");
    }
    let said = machine.run("sudo system-docker start -a installer 2>&1")?;
    assert!(said.contains("is installed on"), "{said}");
    onto_partitions_of_the_owner(&machine, &device(TYPES.len())?, &install)?;
    is_as_users_of_rancheros_know_it(&machine)?;
    machine.power_off()?;
    for ((name, bios, uefi), disk) in TYPES.iter().zip(&disks) {
        for by_uefi in
            [false, true].into_iter().filter(|by_uefi| if *by_uefi { *uefi } else { *bios })
        {
            let options = boot_from(disk, by_uefi);
            let mut machine = starts(&folder, options, "vda1")?;
            if *name == UNTIL_PROMPT {
                reaches_prompt(&mut machine)?;
            }
            println!("{name} boots by {}", if by_uefi { "UEFI" } else { "BIOS" });
        }
    }
    let noformat = folder.join(format!("{NOFORMAT}.img"));
    reaches_prompt(&mut starts(&folder, boot_from(&noformat, true), "vda2")?)?;
    let drive = format!("if=none,id=nvme,format=raw,file={}/{NVME}.img", folder.display());
    let extra = ["-drive", &drive, "-device", "nvme,drive=nvme,serial=story"];
    let extra = extra.map(OsString::from).to_vec();
    let options = Options { medium: Medium::Disk, uefi: true, extra, ..Options::default() };
    starts(&folder, options, "nvme0n1p1").map(drop)
}

/// A service of the system that installs in the console, by `system-docker`. It has the mounts of
/// RancherOS's volume containers, and no client of its own.
fn service(command: &str) -> String {
    format!(
        "  services:\n    installer:\n      image: corral/os-base\n      \
         command: [system-docker, exec, console, sh, -c, '{command}']\n      \
         volumes_from: [all-volumes]\n      \
         labels: {{io.rancher.os.scope: system, io.rancher.os.createonly: 'true'}}\n"
    )
}

/// The label of the state, and the modes of the configuration in it.
fn is_as_users_of_rancheros_know_it(machine: &Machine) -> Result<()> {
    let (hybrid, generic) = (device(0)?, device(3)?);
    let labels = machine.run(&format!("sudo blkid -s LABEL -o value {hybrid}1 {generic}1"))?;
    assert_eq!(labels, "RANCHER_STATE\nRANCHER_STATE");
    let conf = "/run/state/var/lib/rancher/conf";
    let modes = machine.run(&format!(
        "sudo mkdir -p /run/state && sudo mount {hybrid}1 /run/state && \
         sudo stat -c %a {conf} {conf}/cloud-config.d/user_config.yml && sudo umount /run/state"
    ))?;
    assert_eq!(modes, "700\n600");
    Ok(())
}

#[test]
fn a_mirror_survives_the_loss_of_a_disk() -> Result<()> {
    if is_left_out("mirror") {
        return Ok(());
    }
    let folder = folder("mirror")?;
    let disks = ["one.img", "two.img"].map(|name| folder.join(name));
    for disk in &disks {
        drive::blank(disk, 2048)?;
    }
    let options = Options { medium: Medium::Iso, disks: disks.to_vec(), ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    let content = folder.join("www");
    fs::create_dir_all(&content)?;
    fs::write(content.join("my.yml"), config(&shell::make_key(&folder)?))?;
    let web = servers::web(&folder, &content)?;
    let url = format!("http://10.0.2.2:{}", web.port);
    let said = machine
        .run(&format!("! sudo ros install -t raid -d /dev/vda,/dev/vdb -c {url}/none -f 2>&1"))?;
    assert!(said.contains("not found"), "{said}");
    let said = machine.run("! sudo ros install -t raid -d /dev/vda -f 2>&1")?;
    assert!(said.contains("needs two disks"), "{said}");
    machine.run(&format!(
        "sudo ros install -t raid -d /dev/vda,/dev/vdb -c {url}/my.yml -a {SERIAL} --no-reboot -f"
    ))?;
    // Both halves must be in sync before one is lost.
    machine.run("sudo sh -c 'echo 1000000 > /proc/sys/dev/raid/speed_limit_min'")?;
    machine.run("sudo mdadm --wait /dev/md127; ! grep resync /proc/mdstat")?;
    machine.power_off()?;
    for present in [&disks[..], &disks[1..]] {
        let options =
            Options { medium: Medium::Disk, disks: present.to_vec(), ..Options::default() };
        let mut machine = Machine::start(&folder, options)?;
        machine.expect_login()?;
        assert_eq!(machine.run("hostname")?, "installed");
        assert!(machine.run("grep ' /home ' /proc/1/mountinfo")?.contains("/dev/md"));
        machine.power_off()?;
    }
    Ok(())
}

/// The story logs in as ann: the installer finds no key of rancher that it could keep.
#[test]
fn an_installation_that_would_lock_its_owner_out_is_refused() -> Result<()> {
    let folder = folder("lock-out")?;
    let disk = folder.join(DISK_NAME);
    drive::blank(&disk, 2048)?;
    let key = shell::make_key(&folder)?;
    let ann = format!(
        "#cloud-config\nusers:\n  - name: ann\n    groups: [docker]\n    \
         sudo: ALL=(ALL) NOPASSWD:ALL\n    ssh_authorized_keys: [{key}]\n"
    );
    let config_drive = Some(drive::make(&folder, drive::Kind::ConfigDriveIso, ann.as_bytes())?);
    let (disks, sticks) = (vec![disk.clone()], vec![Image::find()?.archive]);
    let options = Options { disks, sticks, config_drive, ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    "ann".clone_into(&mut machine.login.user);
    machine.expect_login()?;
    without_a_way_in_nothing_is_written(&machine, &key)?;
    flags_let_their_owner_in(&machine, &key)?;
    machine.power_off()?;

    let options = Options { medium: Medium::Disk, disks: vec![disk], ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname; cat /tmp/written")?, "flagged\nby the document");
    // DHCP would have given a /24 with a limited lifetime.
    machine.run(
        "ip -4 address show dev eth0 | grep -A 1 'inet 10.0.2.15/25' \
         | grep -q 'valid_lft forever' &&
         ip route | grep -q 'default via 10.0.2.2' && grep -q 10.0.2.3 /etc/resolv.conf",
    )?;
    machine.type_until("rancher", "assword:")?;
    machine.type_until("open sesame", "[rancher@flagged")?;
    machine.check_alarms()
}

fn without_a_way_in_nothing_is_written(machine: &Machine, key: &str) -> Result<()> {
    let cut = &key[..key.len() / 2];
    let documents = [
        (format!("ssh_authorised_keys: [{key}]"), "/tmp/my.yml:2:22: ssh_authorised_keys: "),
        (
            "users: [{name: joe}]".to_owned(),
            "users: joe: it has neither ssh_authorized_keys nor passwd",
        ),
        (
            format!("ssh_authorized_keys: [{cut}]"),
            "ssh_authorized_keys[0]: the key after its type is damaged",
        ),
    ];
    let (disk, install) = (device(0)?, install()?);
    for (document, reason) in documents {
        machine.run(&format!("printf '#cloud-config\\n%s\\n' '{document}' > /tmp/my.yml"))?;
        let said = machine.run(&format!("! {install} -c /tmp/my.yml -f 2>&1"))?;
        assert!(said.contains("no way to log in") && said.contains(reason), "{document}: {said}");
    }
    for (arguments, reason) in [
        ("-f", "no way to log in"),
        ("--ssh-key /tmp/my.yml -f", "no key found"),
        ("--address 10.0.2.15 -f", "10.0.2.15/24"),
        // It continues to the question whether to continue.
        ("-c /tmp/my.yml --no-login", "NO WAY IS KNOWN"),
    ] {
        let said = machine.run(&format!("! {install} {arguments} 2>&1 < /dev/null"))?;
        assert!(said.contains(reason), "{arguments}: {said}");
    }
    machine.run(&format!("[ $(sudo head -c 1048576 {disk} | tr -d '\\0' | wc -c) = 0 ]")).map(drop)
}

/// Onto the first disk, from the release on the second one.
fn install() -> Result<String> {
    Ok(format!("sudo ros install -d {} -i {}", device(0)?, device(1)?))
}

/// The document has no way to log in; the flags have one, and they override the document.
fn flags_let_their_owner_in(machine: &Machine, key: &str) -> Result<()> {
    machine.run(
        "printf '#cloud-config\\nhostname: mine\\n\
         write_files: [{path: /tmp/written, content: by the document}]\\n' > /tmp/my.yml",
    )?;
    let network = "--address 10.0.2.15/25 --gateway 10.0.2.2 --dns 10.0.2.3";
    let said = machine.run(&format!(
        "echo 'open sesame' | {} -c /tmp/my.yml --ssh-key '{key}' --hostname flagged {network} \
         --password-stdin -a {SERIAL} --no-reboot -f",
        install()?
    ))?;
    let fingerprint =
        machine.run(&format!("echo '{key}' > /tmp/key.pub && ssh-keygen -lf /tmp/key.pub"))?;
    super::says_all(
        &said,
        &[
            fingerprint.as_str(),
            "rancher on the console: password",
            "10.0.2.15/25 on eth0 (mac=52:54:00:",
            "is installed on",
        ],
    );
    assert!(!said.contains("open sesame"), "{said}");
    Ok(())
}

/// Without a disk, a type and a document, on a terminal: the installer prompts for what it needs.
fn by_choosing(machine: &Machine, install: &str) -> Result<String> {
    // It is the fourth of the types and of the disks.
    let fourth = "\u{1b}[B".repeat(3);
    let last = device(TYPES.len() + 1)?;
    let questions = [
        ("As hybrid, on two disks", fourth.as_str()),
        (last.as_str(), fourth.as_str()),
        ("cloud-config (file or URL), empty for none: ", "/tmp/my.yml"),
        // Key and host name are in the document, so there is no prompt for them.
        ("Password of rancher for the console, empty for none: ", ""),
        ("Static address (192.168.1.5/24), empty for DHCP: ", ""),
        ("Continue [y/N]: ", "y"),
    ];
    machine.login.answer(install, &questions)
}

/// Partitions that were made by hand, with a folder for the state.
fn onto_partitions_of_the_owner(machine: &Machine, disk: &str, install: &str) -> Result<()> {
    machine.run(&format!("printf 'label: gpt\\n,1GiB,U\\n,,L\\n' | sudo sfdisk -q {disk}"))?;
    machine.run(&format!(
        "sudo mkfs.fat -F 32 -n CORRAL_BOOT {disk}1 && \
         sudo mkfs.ext4 -q -L RANCHER_STATE {disk}2",
    ))?;
    let command = format!("{install} -t noformat --statedir mine -c /tmp/my.yml -f");
    let said = machine.run(&format!("! {command} 2>&1"))?;
    assert!(said.contains("several partitions are labelled CORRAL_BOOT"), "{said}");
    let said = machine.run(&format!("{command} -p {disk}1 -d {disk}2"))?;
    assert!(said.contains(&format!("is installed on {disk}1")), "{said}");
    Ok(())
}

fn refusals(machine: &Machine, release: &str) -> Result<()> {
    let disk = device(0)?;
    for (arguments, reason) in [
        ("-d /dev/vdz".to_owned(), "no such disk"),
        (format!("-d {release}"), "read-only"),
        (format!("-d {disk} -c /tmp/bad.yml"), "has errors"),
        (format!("-d {disk}"), "There is no terminal"),
        (String::new(), "which disk?"),
        ("-t noformat".to_owned(), "CORRAL_BOOT"),
        (format!("-t amazon-ebs-pv -d {disk}"), "hybrid"),
    ] {
        let script = format!(
            "echo '#cloud-config' > /tmp/bad.yml; echo 'hostname: [' >> /tmp/bad.yml; \
             ! sudo ros install -i {release} {arguments} </dev/null 2>&1"
        );
        let said = machine.run(&script)?;
        assert!(said.contains(reason), "ros install {arguments}: {said}");
    }
    // Nothing was written.
    machine.run(&format!("[ -z \"$(sudo blkid {disk})\" ]")).map(|_| ())
}

/// A script that writes the cloud-config of an installed machine.
pub(crate) fn write_config(key: &str) -> String {
    format!("cat > /tmp/my.yml <<'END'\n{}END", config(key))
}

fn config(key: &str) -> String {
    format!("#cloud-config\nhostname: installed\nssh_authorized_keys:\n  - {key}\n")
}

/// A copy of a disk with this image installed. The first story that needs it installs it for all
/// stories.
pub(crate) fn installed(folder: &Path) -> Result<PathBuf> {
    let image = Image::find()?;
    fs::create_dir_all(&image.installed)?;
    let lock = File::create(image.installed.join("lock"))?;
    lock.lock().context("waiting for another story that installs")?;
    let stamp = stamp(&image.iso)?;
    let stamp_file = image.installed.join("stamp");
    if !fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        let _ = fs::remove_file(&stamp_file);
        // In its own folder, in case that machine keeps running.
        let work = vmtest::folder("installed")?;
        install_to(&work).context("installing")?;
        copy_installed(&work, &image.installed)?;
        fs::write(&stamp_file, stamp)?;
    }
    copy_installed(&image.installed, folder)?;
    Ok(folder.join(DISK_NAME))
}

/// What an installed disk is made of: the ISO and how it is installed.
fn stamp(iso: &Path) -> Result<String> {
    let of_iso = fs::metadata(iso)?;
    let mut how = DefaultHasher::new();
    [include_str!("install.rs"), include_str!("../src/installer.rs")].hash(&mut how);
    Ok(format!("{:?} {} {:x}", of_iso.modified()?, of_iso.len(), how.finish()))
}

/// Copies a disk, and the key that logs in to the machine on it.
fn copy_installed(from: &Path, to: &Path) -> Result<()> {
    for name in ["key", "key.pub"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    drive::copy(&from.join(DISK_NAME), &to.join(DISK_NAME))
}

fn install_to(folder: &Path) -> Result<()> {
    let document = Some(config(&shell::make_key(folder)?));
    let (path, arguments) = (folder.join(DISK_NAME), format!("-a {SERIAL}"));
    let disk = installer::Disk { path, mebibytes: DISK, arguments, document };
    // With a key of its own, which must not be on the disk.
    installer::install(&vmtest::folder("installer")?, &Image::find()?.archive, &[disk])
}

fn boot_from(disk: &Path, uefi: bool) -> Options {
    Options { medium: Medium::Disk, uefi, disks: vec![disk.to_path_buf()], ..Options::default() }
}

/// The firmware has found the kernel, and PID 1 the state.
fn starts(folder: &Path, options: Options, state: &str) -> Result<Machine> {
    let mut machine = Machine::start(folder, options)?;
    machine.expect_console(&format!("/var/log is on /dev/{state}"))?;
    Ok(machine)
}

/// The prompt has the host name of the machine's cloud-config.
fn reaches_prompt(machine: &mut Machine) -> Result<()> {
    machine.expect_console("installed login:")?;
    machine.check_alarms()
}
