//! Upgrades: one that works, forward and back with all data of the owner; and five that fail, each
//! in its own way.

use super::install::installed;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use vmtest::folder;
use vmtest::report::is_left_out;
use vmtest::{Image, Machine, Medium, Options, servers};

/// The command `ros os upgrade` of these stories. Its trial time is short, because the story waits
/// that long for a broken release.
const UPGRADE: &str = "sudo ros os upgrade --force --no-reboot --trial-time";
/// The release is on the second disk, as it could be on a USB stick.
const FROM_STICK: &str = "-i /dev/vdb";

fn release(name: &str) -> Result<PathBuf> {
    Ok(Image::find()?.releases.join(format!("{name}.oci.tar")))
}

/// An installed machine, with releases as its second disk and so on.
fn start(folder: &Path, disk: &Path, names: &[&str], uefi: bool) -> Result<Machine> {
    let options = Options {
        medium: Medium::Disk,
        uefi,
        variables: uefi.then(|| folder.join("variables")),
        disks: vec![disk.to_path_buf()],
        sticks: names.iter().map(|name| release(name)).collect::<Result<_>>()?,
        ..Options::default()
    };
    Machine::start(folder, options)
}

fn version(machine: &Machine) -> Result<String> {
    machine.run("ros os version")
}

/// A stranger's release is refused. Then N → N+1 → N → N+1, with a file of the user, an image and a
/// changed configuration. An upgrade from N+1 to N is refused, `ros os rollback` is not.
#[test]
fn an_upgrade_proves_itself_and_keeps_everything() -> Result<()> {
    let folder = folder("upgrade")?;
    let options = Options {
        medium: Medium::Disk,
        disks: vec![installed(&folder)?],
        sticks: vec![release("next")?, release("stranger")?, Image::find()?.archive],
        ..Options::default()
    };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_login()?;
    what_an_unknown_key_has_signed_is_refused(&machine)?;
    machine.expect_docker()?;
    machine.run(
        "echo mine > /home/rancher/data && sudo ros config set rancher.environment.MINE kept",
    )?;
    machine.run("head -c 1024 /dev/zero | sudo docker import - mine:1")?;
    let refused = machine.run("! sudo ros install -d /dev/vda -f 2>&1")?;
    assert!(refused.contains("in use"), "{refused}");

    kernel_parameters_are_edited(&machine)?;
    let plan = machine.run("sudo ros os upgrade -i /dev/vdb --plan")?;
    assert!(plan.contains("0.1.0 → 0.9.0") && plan.contains("nothing was changed"), "{plan}");
    upgrade(&mut machine, &format!("{FROM_STICK} --append corral.mine=1"))?;
    let status = machine.run("sudo ros status; true")?;
    super::says_all(&status, &["0.9.0 runs, and is the default", "ros os rollback: 0.1.0"]);
    machine.expect("[ \"$(cat /sys/class/watchdog/watchdog0/state)\" = inactive ]")?;
    super::says_all(&machine.run("cat /proc/cmdline")?, &["corral.mine=1", "corral.edited=1"]);
    check_kept(&machine)?;
    an_older_release_must_be_requested(&machine)?;

    machine.run("sudo ros os rollback")?;
    machine.restart()?;
    assert_eq!(version(&machine)?, "v0.1.0");
    super::says_all(&machine.run("cat /proc/cmdline")?, &["corral.edited=1"]);
    machine.expect_docker()?;
    check_kept(&machine)?;

    upgrade(&mut machine, FROM_STICK)?;
    check_kept(&machine)?;
    machine.check_alarms()
}

/// The second release is the stranger's.
fn what_an_unknown_key_has_signed_is_refused(machine: &Machine) -> Result<()> {
    let said = machine.run(&format!("! {UPGRADE} 60 -i /dev/vdc 2>&1"))?;
    assert!(said.contains("none of the 1 keys"), "{said}");
    // Even then, a release that was changed on its way is refused by its digests.
    machine.run("sudo head -c 9000000 /dev/vdc > /tmp/cut.tar")?;
    let said =
        machine.run("! sudo ros os upgrade -i /tmp/cut.tar --force --no-reboot --insecure 2>&1")?;
    assert!(said.contains("truncated"), "{said}");
    let said = machine.run(&format!("{UPGRADE} 60 -i /dev/vdc --insecure --stage"))?;
    assert!(said.contains("WARNING") && said.contains("nothing was changed"), "{said}");
    assert_eq!(version(machine)?, "v0.1.0");
    Ok(())
}

/// By `ros config syslinux`, in an editor that is a script.
fn kernel_parameters_are_edited(machine: &Machine) -> Result<()> {
    let said = machine.run(
        "printf '#!/bin/sh\nsed -i \"s/^APPEND/APPEND corral.edited=1/\" \"$1\"\n' > /tmp/edit && \
         chmod +x /tmp/edit && sudo EDITOR=/tmp/edit ros config syslinux",
    )?;
    assert_eq!(said, "takes effect at the next start");
    Ok(())
}

/// 0.9.0 runs, and the third release is 0.1.0.
fn an_older_release_must_be_requested(machine: &Machine) -> Result<()> {
    let upgrade = "sudo ros os upgrade -i /dev/vdd --force --no-reboot";
    for more in ["", "--stage"] {
        let said = machine.run(&format!("! {upgrade} {more} 2>&1"))?;
        let refused = "version 0.1.0 is older than 0.9.0, which is running; --downgrade accepts it";
        assert!(said.contains(refused) && said.contains("nothing was changed"), "{said}");
    }
    let plan = machine.run("sudo ros os upgrade -i /dev/vdd --plan")?;
    assert!(plan.contains("0.9.0 → 0.1.0") && plan.contains("is older than 0.9.0"), "{plan}");
    let said = machine.run(&format!("{upgrade} --downgrade --stage"))?;
    assert!(said.contains("version 0.1.0 is staged and intact"), "{said}");
    assert!(machine.run("sudo ros os list")?.contains("0.9.0 local default running"));
    Ok(())
}

/// On UEFI, where the firmware stores which entry is tried once. The release comes from a registry
/// that the owner's list names.
#[test]
fn an_upgrade_from_a_registry_proves_itself_on_uefi() -> Result<()> {
    if is_left_out("upgrade_from_a_registry") {
        return Ok(());
    }
    let folder = folder("upgrade-uefi")?;
    let registry = servers::registry(&folder)?;
    servers::push_layout(&registry, &release("next")?, "corral", &folder.join("layout"))?;
    let disk = installed(&folder)?;
    let mut machine = start(&folder, &disk, &["next"], true)?;
    machine.expect_login()?;
    // The connection is cut again and again; received data is not fetched twice.
    let line = servers::cutter(&folder, &registry, 80_000_000)?;
    let image = format!("10.0.2.2:{}/corral:0.9.0", line.port);
    machine.run(&format!(
        "echo 'current: {image}\navailable: [\"{image}\"]' | sudo tee /opt/releases.yml"
    ))?;
    machine.run(&format!(
        "sudo ros config set rancher.system_docker.insecure_registry '[\"10.0.2.2:{}\"]'",
        line.port
    ))?;
    machine.run("sudo ros config set rancher.upgrade.url /opt/releases.yml")?;
    let list = machine.run("sudo ros os list")?;
    assert!(list.contains(&format!("{image} remote latest")), "{list}");
    let staged = machine.run("sudo ros os upgrade --stage")?;
    assert!(staged.contains("version 0.9.0 is staged and intact"), "{staged}");
    let passed: u64 = fs::read_to_string(folder.join("passed"))?.parse()?;
    let size = fs::metadata(release("next")?)?.len();
    assert!(passed > 160_000_000 && passed < size + size / 8, "{passed} bytes came for {size}");
    // A staged release is not fetched again.
    let staged = machine.run("sudo ros os upgrade --stage")?;
    assert!(!staged.contains("fetching"), "{staged}");
    upgrade(&mut machine, "")?;
    machine.check_alarms()
}

/// Without the firmware. Here and below from a console that is not the built-in one, whose files
/// stay.
#[test]
fn kexec_restarts_from_any_console() -> Result<()> {
    let folder = folder("kexec")?;
    let disk = installed(&folder)?;
    let mut machine = start(&folder, &disk, &[], false)?;
    machine.expect_login()?;
    into_a_console_of_its_own(&mut machine)?;
    let before = menus(&machine);
    next_kernel(&mut machine, "sudo reboot --kexec-append corral.mine=1")?;
    assert!(machine.run("cat /proc/cmdline")?.contains("corral.mine=1"));
    machine.expect_of_boot(ITS_FILES)?;
    assert_eq!(menus(&machine), before, "the firmware did not run");
    machine.check_alarms()
}

/// A trial needs no boot menu, and neither does a look at the version before.
#[test]
fn kexec_tries_a_new_version() -> Result<()> {
    let folder = folder("kexec-upgrade")?;
    let disk = installed(&folder)?;
    let mut machine = start(&folder, &disk, &["next"], false)?;
    machine.expect_login()?;
    into_a_console_of_its_own(&mut machine)?;
    let before = menus(&machine);
    next_kernel(&mut machine, &format!("{UPGRADE} 600 {FROM_STICK} --kexec"))?;
    assert!(version(&machine)?.starts_with("v0.9.0"));
    machine.expect_of_boot(ITS_FILES)?;
    machine.expect_docker()?;
    machine.expect_of_boot("sudo ros os list | grep -q '0.9.0 local default running'")?;

    next_kernel(&mut machine, "sudo reboot --kexec-previous")?;
    assert!(version(&machine)?.starts_with("v0.1.0"));
    assert!(machine.run("sudo ros os list")?.contains("0.9.0 local default\n"), "only for once");
    assert_eq!(menus(&machine), before, "the firmware did not run");
    machine.check_alarms()
}

/// How often a boot menu was shown.
fn menus(machine: &Machine) -> usize {
    machine.console().matches("SYSLINUX").count()
}

/// This command ends the boot.
fn next_kernel(machine: &mut Machine, command: &str) -> Result<()> {
    let boot_id = machine.run("cat /proc/sys/kernel/random/boot_id")?;
    let _ = machine.run(command);
    machine.expect_next_boot(&boot_id)
}

/// What the story has put into its console.
const ITS_FILES: &str = "test -e /etc/mine && grep -q ID=own /etc/os-release";

/// A console of one program.
fn into_a_console_of_its_own(machine: &mut Machine) -> Result<()> {
    machine.run(
        "mkdir -p own/bin own/etc own/dev own/proc own/root own/sys own/tmp own/usr && \
         cp /usr/bin/busybox own/bin/ && \
         for name in sh cat echo grep id ls rm sleep test touch; do
           ln -s busybox own/bin/$name
         done && echo ID=own > own/etc/os-release && \
         echo root:x:0:0:root:/root:/bin/sh > own/etc/passwd && echo root:x:0: > own/etc/group && \
         tar -C own -cf - . | sudo system-docker import - story/own:1",
    )?;
    super::consoles::switch(machine, "--no-pull story/own:1")?;
    machine.expect_of_boot("grep -q ID=own /etc/os-release")?;
    machine.run("sudo touch /etc/mine").map(drop)
}

/// The machine tries the new version, and makes it the default itself once Docker runs a container.
fn upgrade(machine: &mut Machine, more: &str) -> Result<()> {
    let said = machine.run(&format!("{UPGRADE} 600 {more}"))?;
    assert!(said.contains("version 0.9.0 is tried at the next start"), "{said}");
    assert!(machine.run("sudo ros os list")?.contains("0.1.0 local default running"));
    let status = machine.run("sudo ros status; true")?;
    let armed = "0.1.0 runs, and is the default; 0.9.0 is tried at the next start";
    super::says_all(&status, &[armed]);
    machine.restart()?;
    assert!(version(machine)?.starts_with("v0.9.0"));
    machine.expect_docker()?;
    machine.expect_of_boot("sudo ros os list | grep -q '0.9.0 local default running'")
}

fn check_kept(machine: &Machine) -> Result<()> {
    assert_eq!(machine.run("cat /home/rancher/data")?, "mine");
    assert_eq!(machine.run("sudo ros config get rancher.environment.MINE")?, "kept");
    assert_eq!(machine.run("sudo docker images -q mine:1 | wc -l")?, "1");
    Ok(())
}

/// A release that fails, its version, and the reason that the machine reports.
type Failing = (&'static str, &'static str, &'static str);

#[test]
fn releases_that_do_not_come_up_are_left_again() -> Result<()> {
    let reason = "did not come up";
    fall_back(
        "come-up",
        30,
        &[("panics", "0.9.5", reason), ("exits", "0.9.3", reason), ("hangs", "0.9.4", reason)],
    )
}

/// Docker gets as much time as it needs here.
#[test]
fn releases_whose_docker_does_not_work_are_left_again() -> Result<()> {
    let reason = "Docker did not work in time";
    fall_back("docker", 60, &[("no-docker", "0.9.1", reason), ("no-containers", "0.9.2", reason)])
}

/// After each failure the machine rolls back to the previous version by itself, and reports why.
/// The next release is tried from there.
fn fall_back(name: &str, seconds: u32, releases: &[Failing]) -> Result<()> {
    let folder = folder(&format!("upgrade-{name}"))?;
    let disks = vec![installed(&folder)?];
    let sticks = releases.iter().map(|(name, ..)| release(name)).collect::<Result<_>>()?;
    let options = Options { medium: Medium::Disk, disks, sticks, ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_alarms();
    machine.expect_login()?;
    for (number, (name, failing, reason)) in releases.iter().enumerate() {
        let boot_id = machine.run("cat /proc/sys/kernel/random/boot_id")?;
        let disk = ["/dev/vdb", "/dev/vdc", "/dev/vdd"][number];
        machine
            .run(&format!("{UPGRADE} {seconds} -i {disk}"))
            .with_context(|| (*name).to_owned())?;
        let _ = machine.run("sudo reboot");
        machine.expect_console(&format!("the upgrade to version {failing} failed: "))?;
        machine.expect_next_boot(&boot_id)?;
        let said = version(&machine)?;
        assert!(said.starts_with("v0.1.0") && said.contains(reason), "{name}: {said}");
    }
    Ok(())
}
