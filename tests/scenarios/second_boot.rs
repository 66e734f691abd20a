//! Faults that show at the second boot: what a power cut, a broken disk or a bad change leaves
//! behind. The config drive is gone by then, so the machine finds its owner's configuration only on
//! its state disk.

use super::{STATE, says_all, state_with_key, with_config};
use anyhow::{Context, Result};
use std::path::Path;
use vmtest::{Machine, Options, drive, folder};

const CONF: &str = "/var/lib/rancher/conf";

/// A machine that its owner has configured by a config drive and by a command. Its state disk has
/// both.
pub(super) fn configured(folder: &Path, more: &str) -> Result<(Machine, Options)> {
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let options = Options { append: STATE.to_owned(), disks: vec![disk], ..Options::default() };
    let config = format!("hostname: mine\n{more}");
    let mut machine = with_config(folder, &config, options.clone())?;
    machine.expect_login()?;
    machine.run(
        "echo mine > /home/rancher/data; sudo ros config set rancher.environment.KEPT yes; sync",
    )?;
    Ok((machine, options))
}

/// Boots without the config drive.
pub(super) fn boot(folder: &Path, options: &Options) -> Result<Machine> {
    let mut machine = Machine::start(folder, options.clone())?;
    machine.expect_login()?;
    Ok(machine)
}

/// Cuts the power, and boots without the config drive. All that the machine had is there.
pub(super) fn cut_and_boot(machine: Machine, folder: &Path, options: &Options) -> Result<Machine> {
    machine.cut_power()?;
    let mut machine = boot(folder, options)?;
    has_all(&mut machine)?;
    Ok(machine)
}

/// Checks a configured machine at its first boot, and again after a power cut.
pub(super) fn at_both_boots(
    folder: &Path,
    more: &str,
    check: impl Fn(&mut Machine) -> Result<()>,
) -> Result<()> {
    let (mut machine, options) = configured(folder, more)?;
    has_all(&mut machine)?;
    check(&mut machine).context("at the first boot")?;
    machine = cut_and_boot(machine, folder, &options)?;
    check(&mut machine).context("at the second boot")?;
    machine.check_alarms()
}

/// Leaves no room on the state disk.
pub(super) fn fill_disk(machine: &Machine) -> Result<()> {
    let script = "fallocate -l $(df -k /opt | awk 'END {print $4 - 64}')k /opt/fill
        dd if=/dev/zero of=/opt/rest bs=4k 2>/dev/null; sync; true";
    as_root(machine, script).map(drop)
}

/// Runs a script as root, in its own shell.
pub(super) fn as_root(machine: &Machine, script: &str) -> Result<String> {
    machine.run(&format!("sudo sh -c '{}'", script.replace('\'', "'\\''")))
}

/// Does something harmful as root, and cuts the power.
pub(super) fn cut_after(machine: Machine, script: &str) -> Result<()> {
    as_root(&machine, &format!("{script}\nsync"))?;
    machine.cut_power()
}

/// Everything that the machine reports as wrong, here and on its console.
pub(super) fn reported(machine: &Machine) -> Result<String> {
    Ok(format!(
        "{}\n{}",
        machine.run("sudo ros why; sudo ros config validate; true")?,
        machine.console()
    ))
}

/// The owner's data and configuration are there, and the system's services run.
pub(super) fn has_all(machine: &mut Machine) -> Result<()> {
    let shown = machine
        .run("cat /home/rancher/data; hostname; sudo ros config get rancher.environment.KEPT")?;
    assert_eq!(shown, "mine\nmine\nyes");
    assert!(machine.run("grep ' /home ' /proc/1/mountinfo")?.contains("ext4"));
    for name in ["console", "network", "udev", "syslog", "ntp"] {
        runs(machine, name)?;
    }
    Ok(())
}

pub(super) fn runs(machine: &mut Machine, name: &str) -> Result<()> {
    machine.expect(&format!(
        "[ \"$(sudo system-docker inspect --format '{{{{.State.Status}}}}' {name})\" = running ]"
    ))
}

/// The state disk is away for one boot. The machine runs from memory and reports why. When the disk
/// is back, all its content is back, without anything from the boot in between.
#[test]
fn a_disk_that_was_away_for_one_boot_comes_back_with_all_that_was_on_it() -> Result<()> {
    let folder = folder("disk-away")?;
    let (machine, options) = configured(&folder, "")?;
    machine.cut_power()?;
    // Without disk and drive, only the command line has the owner's key.
    let append = state_with_key(&folder)?;
    let mut machine = boot(&folder, &Options { append, ..Options::default() })?;
    let said = reported(&machine)?;
    assert!(said.contains("LABEL=RANCHER_STATE not found; running from memory"), "{said}");
    assert!(said.contains("the machine runs from memory, nothing is kept"), "{said}");
    machine.run(
        "! test -e /home/rancher/data && sudo ros config set hostname other && echo other > data",
    )?;
    machine.expect_docker()?;
    let machine = cut_and_boot(machine, &folder, &options)?;
    machine.run("sudo ros config validate && ! sudo ros why | grep state:")?;
    machine.check_alarms()
}

/// The disk fills up while the machine runs. A change that finds no space is refused as a unit,
/// with a message. With the disk still full the machine boots, lets its owner log in, and has all
/// its data.
#[test]
fn a_disk_that_fills_up_at_run_time_refuses_changes_and_loses_none() -> Result<()> {
    let folder = folder("full-at-run-time")?;
    let (machine, options) = configured(&folder, "")?;
    fill_disk(&machine)?;
    let store = format!("{CONF}/cloud-config.yml");
    let before = as_root(&machine, &format!("cat {store}"))?;
    let said = machine.run("! sudo ros config set rancher.environment.LOST no 2>&1")?;
    assert!(said.contains(&store) && said.contains("No space left"), "{said}");
    assert_eq!(
        as_root(&machine, &format!("cat {store}; ls -A {CONF} | grep '[.]new$'; true"))?,
        before
    );
    let mut machine = cut_and_boot(machine, &folder, &options)?;
    let said = reported(&machine)?;
    assert!(said.contains("state: the disk is full"), "{said}");
    as_root(&machine, "rm /opt/fill /opt/rest; ros config set rancher.environment.ROOM yes")?;
    machine.expect_docker()?;
    machine.check_alarms()
}

const NULS: &str = "size=$(stat -c %s $FILE); truncate -s 0 $FILE; truncate -s $size $FILE";

/// What a power cut, a repaired file system or a wrong command can do to a file.
const DAMAGE: [(&str, &str); 5] = [
    ("no bytes", "truncate -s 0 $FILE"),
    ("NULs", NULS),
    ("a folder", "rm $FILE; mkdir $FILE"),
    ("a link that leads nowhere", "rm $FILE; ln -s /nowhere $FILE"),
    ("the first half", "truncate -s $(($(stat -c %s $FILE) / 2)) $FILE"),
];

/// All configuration files are damaged, in each way in turn. The last good ones take effect, and
/// the owner logs in by a key that only those have. Each file is reported, and no change makes the
/// loss permanent.
#[test]
fn damaged_files_of_the_configuration_are_replaced_by_the_last_good_ones() -> Result<()> {
    let folder = folder("damaged-conf")?;
    let (mut machine, options) = configured(&folder, "")?;
    let files = [format!("{CONF}/cloud-config.d/boot.yml"), format!("{CONF}/cloud-config.yml")];
    for (what, damage) in &DAMAGE[..4] {
        let each = format!(
            "for FILE in {}; do cp $FILE /opt/$(basename $FILE); {damage}; done",
            files.join(" ")
        );
        cut_after(machine, &each)?;
        machine = boot(&folder, &options).with_context(|| format!("files with {what}"))?;
        has_all(&mut machine).with_context(|| format!("files with {what}"))?;
        let said = reported(&machine)?;
        for file in &files {
            let named = format!("configuration: {file}");
            assert!(said.lines().any(|line| line.starts_with(&named)), "{what}: {said}");
        }
        let said = machine.run("! sudo ros config set rancher.environment.MORE yes 2>&1")?;
        assert!(said.contains(&files[1]), "{what}: {said}");
        let repair = format!(
            "for FILE in {}; do rm -rf $FILE; mv /opt/$(basename $FILE) $FILE; done",
            files.join(" ")
        );
        as_root(
            &machine,
            &format!("{repair}; ros config validate; ros config set rancher.environment.MORE yes"),
        )?;
    }
    has_all(&mut machine)?;
    machine.check_alarms()
}

/// The files and their last good copies are damaged. Only the record of who may log in is left, and
/// it is enough.
#[test]
fn the_way_in_outlives_a_file_and_its_last_good_copy() -> Result<()> {
    let folder = folder("damaged-both")?;
    let (machine, options) = configured(&folder, "")?;
    cut_after(
        machine,
        &format!(
            "for FILE in {CONF}/cloud-config.d/boot.yml {CONF}/last-good/boot.yml; do {NULS}; done"
        ),
    )?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    let said = reported(&machine)?;
    assert!(said.contains("boot.yml:1:1: a NUL byte"), "{said}");
    machine.check_alarms()
}

/// All host keys of sshd are damaged, in several ways. sshd runs with new ones, the old ones are
/// set aside, and the console reports it. An intact key stays as it is.
#[test]
fn damaged_host_keys_are_replaced_and_set_aside() -> Result<()> {
    let folder = folder("host-keys")?;
    let (mut machine, options) = configured(&folder, "")?;
    let key = format!("{CONF}/ssh/ssh_host_ed25519_key");
    for (what, damage) in &DAMAGE {
        let script = format!("for FILE in {CONF}/ssh/ssh_host_*_key; do {damage}; done");
        cut_after(machine, &script)?;
        machine = boot(&folder, &options).with_context(|| format!("host keys with {what}"))?;
        let public = as_root(&machine, &format!("ssh-keygen -y -f {key}"))?;
        assert!(public.starts_with("ssh-ed25519 "), "{what}: {public}");
        let said = reported(&machine)?;
        assert!(said.contains("ssh_host_ed25519_key is not a private key"), "{what}: {said}");
        as_root(
            &machine,
            &format!(
                "find {CONF}/ssh -name \"*ed25519_key.damaged\" | grep -q . && \
                 rm -rf {CONF}/ssh/*.damaged"
            ),
        )?;
        let again = as_root(&machine, &format!("cat {key}"))?;
        machine.cut_power()?;
        machine = boot(&folder, &options)?;
        assert_eq!(as_root(&machine, &format!("cat {key}"))?, again, "{what}: a good key stays");
    }
    has_all(&mut machine)?;
    machine.check_alarms()
}

/// The power is cut in the middle of many changes. The next boot reads the file. It has every
/// change up to one of them, and none after it.
#[test]
fn a_power_cut_among_many_changes_keeps_all_up_to_one_of_them() -> Result<()> {
    let folder = folder("cut-in-changes")?;
    let (mut machine, options) = configured(&folder, "")?;
    machine.run(
        "(for n in $(seq 200); do \
         sudo ros config set rancher.environment.N$n $n || break; done) \
         > /dev/null 2>&1 < /dev/null &",
    )?;
    machine.expect(&format!("sudo grep -q N25: {CONF}/cloud-config.yml"))?;
    let machine = cut_and_boot(machine, &folder, &options)?;
    machine.run("sudo ros config validate")?;
    let numbers =
        "sudo ros config get rancher.environment | grep -o '^N[0-9]*' | tr -d N | sort -n";
    let kept: Vec<usize> = machine
        .run(numbers)?
        .lines()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("numbers")?;
    assert!(kept.len() >= 25 && kept.len() < 200, "{kept:?}");
    assert_eq!(kept, (1..=kept.len()).collect::<Vec<_>>());
    machine.run("sudo ros config set rancher.environment.AFTER yes && sudo ros config validate")?;
    machine.check_alarms()
}

/// Bad YAML in every source at once: OEM partition, config drive, a file of the owner, the store,
/// the command line. Sources with a last good copy use it, and each source is reported with its
/// error.
#[test]
fn bad_yaml_in_every_source_at_once_does_not_lock_the_owner_out() -> Result<()> {
    let folder = folder("bad-sources")?;
    let (machine, options) = configured(&folder, "")?;
    as_root(
        &machine,
        &format!(
            "echo 'rancher: {{environment: {{MINE: yes}}}}' > {CONF}/cloud-config.d/50-mine.yml; \
             ros config set rancher.environment.SEEN yes; sync"
        ),
    )?;
    cut_after(
        machine,
        &format!(
            "for f in cloud-config.d/50-mine.yml cloud-config.yml; do \
             echo 'rancher: [' >> {CONF}/$f; done"
        ),
    )?;
    let oem = folder.join("oem.img");
    drive::make_ext4(&oem, "RANCHER_OEM", ("oem-config.yml", "hostname: {oem\n"))?;
    let config_drive = Some(drive::make(
        &folder,
        drive::Kind::ConfigDriveIso,
        b"#cloud-config\nhostname: 'worse\n",
    )?);
    let append = format!("{STATE} rancher.debug=perhaps");
    let mut machine =
        boot(&folder, &Options { append, sticks: vec![oem], config_drive, ..options })?;
    has_all(&mut machine)?;
    machine.run("[ $(sudo ros config get rancher.environment.MINE) = yes ]")?;
    let said = reported(&machine)?;
    says_all(
        &said,
        &[
            "oem-config.yml:",
            "user-data:",
            "50-mine.yml:",
            "cloud-config.yml:",
            "kernel command line:1:15: rancher.debug",
        ],
    );
    machine.expect_docker()?;
    machine.check_alarms()
}

/// A static address in another network, without DHCP and without a gateway: no ssh at the second
/// boot. The owner logs in on the serial console and repairs it there. The third boot is reachable
/// again.
#[test]
fn a_wrong_address_is_repaired_on_the_serial_console() -> Result<()> {
    let folder = folder("wrong-address")?;
    let (machine, options) = configured(&folder, "")?;
    machine.run(
        "sudo ros config set rancher.password open-sesame && \
         sudo ros config set rancher.network.interfaces \
         '{eth0: {dhcp: false, address: 192.0.2.9/24}}'",
    )?;
    machine.cut_power()?;
    let mut machine = Machine::start(&folder, options.clone())?;
    machine.expect_console("login:")?;
    machine.type_line("rancher")?;
    machine.expect_console("assword:")?;
    machine.type_until("open-sesame", "rancher@mine")?;
    machine.type_until("ip -color=never addr show dev eth0", "inet 192.0.2.9/24")?;
    machine.type_line(
        "sudo ros config set rancher.network.interfaces.eth0.dhcp true && sync && \
         echo repaired $((50 + 2))",
    )?;
    machine.expect_console("repaired 52")?;
    let machine = cut_and_boot(machine, &folder, &options)?;
    machine.check_alarms()
}
