//! The state disk: late, ambiguous, marked for formatting, full, broken, grown; and the recovery
//! console.

use super::install::installed;
use super::second_boot::fill_disk;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use vmtest::folder;
use vmtest::{Machine, Medium, Options, drive, shell};

const STATE: &str = "rancher.state.dev=LABEL=RANCHER_STATE";

/// An installed machine.
fn boot_disk(folder: &Path, disk: &Path) -> Result<Machine> {
    let options =
        Options { medium: Medium::Disk, disks: vec![disk.to_path_buf()], ..Options::default() };
    Machine::start(folder, options)
}

/// A disk with one partition, as an installation leaves one, and the state in it.
fn with_state(folder: &Path) -> Result<Options> {
    let disk = folder.join("state.img");
    drive::make_partitioned(&disk, 4096, 4000, "RANCHER_STATE")?;
    Ok(Options { append: STATE.to_owned(), disks: vec![disk], ..Options::default() })
}

#[test]
fn a_disk_of_docker_machine_is_formatted_and_its_key_lets_it_in() -> Result<()> {
    let folder = folder("boot2docker")?;
    let disk = folder.join("disk.img");
    drive::make_boot2docker(&disk, 512, &shell::make_key(&folder)?)?;
    let append = format!("{STATE} rancher.state.autoformat=[/dev/sda,/dev/vdb]");
    let options = Options { append, disks: vec![disk], ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_login()?;
    assert!(machine.run("sudo blkid /dev/vdb")?.contains("LABEL=\"B2D_STATE\""));
    assert!(machine.run("grep ' /home ' /proc/1/mountinfo")?.contains("/dev/vdb"));
    assert!(machine.run("sudo ros config get rancher.state.autoformat")?.contains("/dev/vdb"));
    machine.check_alarms()
}

#[test]
fn of_two_disks_with_one_label_none_is_taken() -> Result<()> {
    let folder = folder("two-labels")?;
    let disks = ["one.img", "two.img"].map(|name| folder.join(name));
    for disk in &disks {
        drive::make_ext4(disk, "RANCHER_STATE", ("mine", "untouched"))?;
    }
    let options = Options { append: STATE.to_owned(), disks: disks.to_vec(), ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    let why = machine.run("sudo ros why; true")?;
    assert!(
        why.contains("ambiguous") && why.contains("/dev/vdb") && why.contains("/dev/vdc"),
        "{why}"
    );
    assert!(machine.run("sudo ros persist")?.contains("nothing survives a restart"));
    machine.check_alarms()
}

#[test]
fn a_disk_that_comes_late_is_waited_for() -> Result<()> {
    let folder = folder("late")?;
    let disk = folder.join("late.img");
    drive::make_ext4(&disk, "RANCHER_STATE", ("mine", "kept"))?;
    let mut machine = super::with_config(
        &folder,
        "",
        Options { append: STATE.to_owned(), ..Options::default() },
    )?;
    machine.expect_console("waiting up to 10 s for LABEL=RANCHER_STATE")?;
    machine.plug_in(&disk)?;
    machine.expect_login()?;
    assert!(machine.run("grep ' /home ' /proc/1/mountinfo")?.contains("ext4"));
    machine.check_alarms()
}

#[test]
fn a_broken_disk_does_not_lock_the_owner_out() -> Result<()> {
    let folder = folder("broken-state")?;
    let disk = installed(&folder)?;
    let mut machine = boot_disk(&folder, &disk)?;
    machine.expect_login()?;
    // The start of the state partition, and the copy of the keys on the boot medium.
    let start: u64 = machine.run("cat /sys/class/block/vda1/start")?.parse()?;
    machine.expect("sudo test -s /run/corral/medium/boot/authorized_keys")?;
    machine.power_off()?;
    // The superblock, its copies and what is near them.
    let file = File::options().write(true).open(&disk)?;
    let length = file.metadata()?.len();
    for group in 0..((length - start * 512) >> 27) {
        file.write_all_at(&vec![0xa5; 1 << 20], start * 512 + (group << 27))?;
    }
    let mut machine = boot_disk(&folder, &disk)?;
    machine.expect_login()?;
    let why = machine.run("sudo ros why; true")?;
    assert!(why.starts_with("state: ") && why.contains("runs from memory"), "{why}");
    machine.expect_docker()?;
    machine.check_alarms()
}

#[test]
fn a_full_disk_boots_and_says_so() -> Result<()> {
    let folder = folder("full-state")?;
    let mut machine = super::with_config(&folder, "", with_state(&folder)?)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    fill_disk(&machine)?;
    machine.restart()?;
    let why = machine.run("sudo ros why; true")?;
    assert!(why.contains("the disk is full"), "{why}");
    machine.run("sudo rm /opt/fill /opt/rest")?;
    machine.check_alarms()
}

#[test]
fn the_state_grows_with_its_disk() -> Result<()> {
    let folder = folder("grown-state")?;
    let options = with_state(&folder)?;
    let mebibytes = "df -m /state 2>/dev/null /home | awk 'END {print $2}'";
    let mut machine = super::with_config(&folder, "", options.clone())?;
    machine.expect_login()?;
    let before: u64 = machine.run(mebibytes)?.parse()?;
    machine.power_off()?;
    File::options().write(true).open(&options.disks[0])?.set_len(8 << 30)?;
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    machine.expect(&format!("[ $({mebibytes}) -gt {} ]", before + 3000))?;
    machine.check_alarms()
}

#[test]
fn a_reset_keeps_what_its_keep_flag_names() -> Result<()> {
    let folder = folder("reset")?;
    let mut machine = super::with_config(&folder, "hostname: installed\n", with_state(&folder)?)?;
    machine.expect_login()?;
    machine.run(
        "echo mine > /home/rancher/data; sudo mkdir -p /opt/app; \
         sudo ros config set rancher.environment.MINE kept",
    )?;
    // The same option is an argument of dockerd by default.
    let file = r#"{"log-opts": {"max-size": "7m"}, "labels": ["of=the-file"]}"#;
    machine.run(&format!("echo '{file}' | sudo tee /etc/docker/daemon.json"))?;
    let boot_id = machine.run("cat /proc/sys/kernel/random/boot_id")?;
    let _ = machine.run("sudo ros reset --keep config -f");
    machine.expect_next_boot(&boot_id)?;
    machine.run("[ ! -e /home/rancher/data ] && [ ! -e /opt/app ]")?;
    assert_eq!(machine.run("sudo ros config get rancher.environment.MINE")?, "kept");
    assert_eq!(machine.run("hostname")?, "installed");
    machine.expect("docker info --format '{{.Labels}}' | grep -q of=the-file")?;
    let warning = "daemon.json wins over rancher.docker: log-opts";
    machine.run(&format!("sudo system-docker logs docker 2>&1 | grep '{warning}'"))?;
    // The system engine reads certificates there.
    machine.run("sudo test -s /proc/1/root/etc/docker/daemon.json")?;
    machine.check_alarms()
}

#[test]
fn the_recovery_console_is_left_into_the_boot() -> Result<()> {
    let folder = folder("recovery")?;
    let append = "rancher.recovery=true rancher.password=open-sesame".to_owned();
    let mut machine = super::with_config(&folder, "", Options { append, ..Options::default() })?;
    machine.expect_console("Recovery console of Corral")?;
    machine.expect_console("assword:")?;
    machine.type_until("open-sesame", "[Recovery console root@")?;
    machine.type_line("udhcpc -i eth0 -n -q && echo leased $((40 + 2))")?;
    machine.expect_console("leased 42")?;
    machine.type_line("ros --version; exit")?;
    machine.expect_login()?;
    machine.check_alarms()
}

#[test]
fn a_required_disk_that_is_not_there_ends_in_the_recovery_console() -> Result<()> {
    let folder = folder("required")?;
    let append = format!("{STATE} rancher.state.required=true");
    let mut machine = super::with_config(&folder, "", Options { append, ..Options::default() })?;
    machine.expect_console("the state disk is required")?;
    machine.expect_console("[Recovery console root@")?;
    machine.type_line("exit")?;
    machine.expect_login()?;
    machine.check_alarms()
}
