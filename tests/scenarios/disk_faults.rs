//! The file system of the state disk is damaged, or cannot be written to, before the second boot.
//! The machine repairs what it can, runs from memory where it cannot, reports it, and lets its
//! owner log in.

use super::faults::IMAGES;
use super::second_boot::{as_root, boot, configured, cut_and_boot, has_all, reported};
use super::state_with_key;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use vmtest::{Options, drive, folder};

/// Changes a file system that no machine has mounted, by the commands of debugfs(8).
fn debugfs(disk: &Path, requests: &[&str]) -> Result<()> {
    for request in requests {
        let output =
            Command::new("/sbin/debugfs").args(["-w", "-R", request]).arg(disk).output()?;
        ensure!(output.status.success(), "{request}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Folders of the state lose their inodes on a disk that is marked as clean. The disk is repaired
/// in the same boot and the owner's other folders are unchanged. The content of the lost folders is
/// in lost+found.
#[test]
fn a_folder_that_the_kernel_cannot_read_is_repaired_in_the_same_boot() -> Result<()> {
    let folder = folder("lost-folder")?;
    let (mut machine, options) = configured(&folder, "")?;
    as_root(&machine, "echo precious > /opt/precious")?;
    machine.power_off()?;
    debugfs(&options.disks[0], &["clri /opt", "clri /var/log"])?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    machine.expect_console("was not unmounted cleanly; checking it")?;
    machine.run("grep ' /opt ' /proc/1/mountinfo | grep ext4")?;
    machine.expect("sudo test -s /var/log/messages")?;
    machine.expect_docker()?;
    machine.power_off()?;
    // The content is on the disk, under another name.
    let output = Command::new("/sbin/debugfs")
        .args(["-R", "ls -l /lost+found"])
        .arg(&options.disks[0])
        .output()?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(listed.contains('#'), "nothing is in lost+found: {listed}");
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    machine.run("! sudo ros why | grep state:")?;
    machine.check_alarms()
}

/// The disk is marked as clean, but the kernel does not mount it: its journal has lost its inode.
/// The disk is checked all the same.
#[test]
fn a_clean_disk_that_cannot_be_mounted_is_repaired_in_the_same_boot() -> Result<()> {
    let folder = folder("no-journal")?;
    let (mut machine, options) = configured(&folder, "")?;
    machine.power_off()?;
    debugfs(&options.disks[0], &["clri <8>"])?;
    let mut machine = boot(&folder, &options)?;
    assert!(machine.console().contains("checking /dev/"), "{}", machine.last_lines());
    has_all(&mut machine)?;
    machine.run("! sudo ros why | grep state:")?;
    machine.power_off()?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    assert!(!machine.console().contains("checking"), "{}", machine.last_lines());
    machine.check_alarms()
}

/// Configuration files lose their inodes on a disk that is marked as clean. Reading them fails, and
/// the last good ones take effect. The next boot repairs the disk, which removes the names of the
/// lost files. Their copies are put back.
#[test]
fn a_file_of_the_configuration_that_cannot_be_read_is_replaced_by_its_last_good_copy() -> Result<()>
{
    let folder = folder("unreadable-file")?;
    let (mut machine, options) = configured(&folder, "")?;
    machine.power_off()?;
    let conf = "/var/lib/rancher/conf";
    debugfs(
        &options.disks[0],
        &[
            &format!("clri {conf}/cloud-config.d/boot.yml"),
            &format!("clri {conf}/cloud-config.yml"),
        ],
    )?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    let said = reported(&machine)?;
    for file in ["cloud-config.d/boot.yml", "cloud-config.yml"] {
        assert!(said.contains(&format!("reading {conf}/{file}")), "{file}: {said}");
    }
    machine.power_off()?;
    let mut machine = boot(&folder, &options)?;
    machine.expect_console("was not unmounted cleanly; checking it")?;
    machine
        .run("grep ' /var/lib/rancher .*ext4' /proc/1/mountinfo && ! sudo ros why | grep state:")?;
    let said = reported(&machine)?;
    for file in ["cloud-config.d/boot.yml", "cloud-config.yml"] {
        assert!(
            said.contains(&format!("{conf}/{file}: warning: the repair of the state disk")),
            "{file}: {said}"
        );
    }
    let kept = "cat /home/rancher/data; sudo ros config get hostname; \
                sudo ros config get rancher.environment.KEPT";
    assert_eq!(machine.run(kept)?, "mine\nmine\nyes");
    machine.power_off()?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    let said = reported(&machine)?;
    assert!(!said.contains("repair"), "{said}");
    machine.check_alarms()
}

/// Bytes are flipped all over the file system, in rounds with more flips each. After each round the
/// owner logs in and Docker runs. The state is on its repaired disk, or in memory with the reason
/// reported.
#[test]
fn flipped_bytes_of_the_file_system_do_not_lock_the_owner_out() -> Result<()> {
    let folder = folder("flips")?;
    let (mut machine, options) = configured(&folder, "")?;
    as_root(&machine, IMAGES)?;
    // A disk that is not clean is always checked; the damage of this one has to be detected.
    machine.power_off()?;
    let disk = &options.disks[0];
    let fresh = folder.join("fresh.img");
    let append = state_with_key(&folder)?;
    drive::copy(disk, &fresh)?;
    for (round, flips) in [100, 2000, 20_000, 200_000].into_iter().enumerate() {
        drive::copy(&fresh, disk)?;
        flip(disk, flips, 0x5eed_u64 + round as u64)?;
        let what = format!("{flips} flips");
        let machine = boot(&folder, &Options { append: append.clone(), ..options.clone() })
            .context(what.clone())?;
        // The kernel's messages about the disk are not alarms.
        machine.run("sudo ros config validate; sudo ros why; true")?;
        machine
            .run("wait-for-docker || sudo ros why | grep -E '^(docker|state):'")
            .context(what.clone())?;
        let on_disk =
            machine.run("grep -c ' /var/lib/rancher .*ext4' /proc/1/mountinfo; true")? != "0";
        let said = reported(&machine)?;
        assert!(on_disk || said.contains("running from memory"), "{what}: {said}");
        println!("{what}: {}", if on_disk { "on disk" } else { "in memory" });
        machine.check_alarms()?;
    }
    Ok(())
}

/// Flips bytes at pseudorandom offsets: half of them anywhere on the disk, half near its start. The
/// first 8 KiB of each 128 MiB are left alone, because superblocks are there.
fn flip(disk: &Path, flips: u64, seed: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    let length = file.metadata()?.len();
    let mut state = seed;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for number in 0..flips {
        // Half of them near the start, where bitmaps, inodes and the first folders are.
        let at = if number % 2 == 0 { 4096 * 2 + random(32 << 20) } else { random(length) };
        if at % (128 << 20) < 8192 {
            continue;
        }
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[!byte[0]], at)?;
    }
    Ok(())
}

/// The disk accepts no writes any more, as disks do when they wear out. The owner logs in and the
/// machine reports why it runs from memory. Once the disk accepts writes again, everything is as it
/// was.
#[test]
fn a_disk_that_takes_no_writes_costs_no_login_and_no_data() -> Result<()> {
    let folder = folder("read-only-disk")?;
    let (mut machine, options) = configured(&folder, "")?;
    machine.power_off()?;
    let append = state_with_key(&folder)?;
    let blocked =
        Options { disks: Vec::new(), sticks: options.disks.clone(), append, ..Options::default() };
    let mut machine = boot(&folder, &blocked)?;
    let said = reported(&machine)?;
    assert!(said.contains("state: ") && said.contains("running from memory"), "{said}");
    machine.expect_docker()?;
    let machine = cut_and_boot(machine, &folder, &options)?;
    machine.run("! sudo ros why | grep state:")?;
    machine.check_alarms()
}
