//! The state disk and the shutdown of a machine. After every kind of shutdown the disk is clean and
//! holds what it should.

use super::STATE;
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;
use vmtest::{Machine, Options, drive, folder, servers};

#[test]
fn state_survives_reboot_and_power_off() -> Result<()> {
    let folder = folder("state")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let options =
        Options { append: STATE.to_owned(), disks: vec![disk.clone()], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(
        "echo kept > /home/rancher/kept; sudo touch /opt/kept /usr/bin/lost
         mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ && \
         tar -C /tmp/r -c . | docker import - hello
         docker run -d --restart always --name app hello /bin/busybox sleep 1000
         sudo ros config set hostname changed",
    )?;
    let host_key = machine.run("sudo cat /var/lib/rancher/conf/ssh/ssh_host_ed25519_key.pub")?;
    let first_boot = machine.run("cat /proc/sys/kernel/random/boot_id")?;
    // The connection is lost with the machine: the result of ssh means nothing.
    let _ = machine.login.run("sudo /usr/sbin/reboot");
    machine.expect_console("Reboot")?;
    machine.expect_next_boot(&first_boot)?;
    machine.expect_docker()?;
    assert_eq!(
        machine
            .run("cat /home/rancher/kept; ls /opt/kept; ls /usr/bin/lost 2>/dev/null; hostname")?,
        "kept\n/opt/kept\nchanged"
    );
    assert_eq!(
        machine.run("sudo cat /var/lib/rancher/conf/ssh/ssh_host_ed25519_key.pub")?,
        host_key
    );
    machine.expect("docker inspect --format '{{.State.Running}}' app | grep -q true")?;
    machine.power_off()?;
    check_clean(&disk)
}

/// A container that never stops writing, a swap file, and a server that has not got all of a file
/// yet. The disk is clean after the shutdown, and the server has the file. When the server is gone,
/// the machine still powers off, and its disk is clean.
#[test]
fn a_busy_machine_powers_off_with_a_clean_disk() -> Result<()> {
    let folder = folder("busy")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let export = folder.join("export");
    fs::create_dir_all(&export)?;
    let server = servers::nfs(&folder, &export)?;
    let config = format!(
        "swap: {{filename: /home/swap, size: 64M}}\n\
         mounts:\n  - [\"10.0.2.2:/export\", /mnt/nfs, nfs4, \"port={}\"]\n",
        server.port
    );
    let options =
        Options { append: STATE.to_owned(), disks: vec![disk.clone()], ..Options::default() };
    let mut machine = super::with_config(&folder, &config, options.clone())?;
    write_on_and_on(&mut machine)?;
    // Corral's swap file, one that the owner's command made, and a file system in a file. Then a
    // swap file and a file system on devices that do not give up their files by themselves.
    machine.expect("grep -q '^/home/swap ' /proc/swaps")?;
    machine.run(
        "sudo sh -c 'cd /opt && fallocate -l 16M own && chmod 600 own && mkswap own > /dev/null && \
         swapon own && fallocate -l 16M loop && mkfs.ext4 -q loop && mkdir -p /mnt/loop && \
         mount -o loop loop /mnt/loop && echo in it > /mnt/loop/file && \
         fallocate -l 16M kept && mkfs.ext4 -q kept && losetup /dev/loop6 kept && \
         mkdir -p /mnt/kept && mount /dev/loop6 /mnt/kept && echo in it > /mnt/kept/file && \
         fallocate -l 16M device && mkswap device > /dev/null && losetup /dev/loop7 device && \
         swapon /dev/loop7 && \
         seq 1000000 > /mnt/nfs/file'",
    )?;
    machine.power_off()?;
    let console = machine.console();
    assert!(!console.contains("will be checked at the next boot"), "{}", machine.last_lines());
    check_clean(&disk)?;
    let expected: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    assert!(fs::read_to_string(export.join("file"))? == expected, "the file is not complete");

    let mut machine = super::with_config(&folder, &config, options)?;
    write_on_and_on(&mut machine)?;
    machine.run(
        "sudo sh -c 'while :; do echo line; done > /mnt/nfs/other 2> /dev/null &'
         until sudo test -e /mnt/nfs/other; do :; done",
    )?;
    drop(server);
    machine.power_off()?;
    check_clean(&disk)
}

/// Starts a container that writes as fast as the disk takes it.
fn write_on_and_on(machine: &mut Machine) -> Result<()> {
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(
        "mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ && \
         tar -C /tmp/r -c . | docker import - writer
         docker rm -f writer 2>/dev/null
         docker run -d --restart always --name writer -v /home:/home writer /bin/busybox sh -c \
           'trap \"\" TERM; while :; do /bin/busybox dd if=/dev/zero of=/home/data bs=64k \
            count=1000 conv=notrunc; done'",
    )?;
    machine.expect("test $(stat -c %s /home/data) -gt 1000000")
}

/// Programs that end when they are requested to, some of them after a moment in which they save
/// something. `bash` on a terminal ignores SIGTERM, and dockerd waits for its clients.
const SESSION: &str = "docker events > /home/rancher/events & exec bash -i";
const SAVES: &str = "trap 'sleep 1; echo saved > /home/rancher/by-user; exit' TERM; \
                     touch /home/rancher/ready; while :; do sleep 0.1; done";
/// It needs longer than what is left at the end of a shutdown has without a stop timeout.
const CONTAINER: &str = "docker run -d --name saves --stop-signal USR1 --stop-timeout 120 \
     -v /home/rancher:/data saver /bin/busybox sh -c 'trap \"\" TERM; \
     trap \"/bin/busybox sleep 7; echo saved > /data/by-container; exit\" USR1; \
     echo ready; while :; do /bin/busybox sleep 0.1; done'";
/// What PID 1 and the programs of the shutdown log of each process that they kill.
const KILLS: [&str; 3] = ["did not stop within", "did not end within", "do not end"];

/// Users are logged in over ssh and on the console, with a client of Docker's events. Nothing has
/// to be killed for the shutdown, and nothing that is being saved is lost. What has to be killed is
/// named.
#[test]
fn a_shutdown_kills_only_what_does_not_end_by_itself() -> Result<()> {
    let folder = folder("requests")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 1024)?;
    let append = format!("{STATE} rancher.autologin=ttyS0");
    let options = Options { append, disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options.clone())?;
    machine.expect_login()?;
    machine.expect_docker()?;
    let blocked = machine.run("grep SigBlk /proc/self/status")?;
    assert_eq!(blocked, "SigBlk:\t0000000000000000", "a program of a user ignores signals");
    machine.type_until("echo on the console $((40 + 2))", "on the console 42")?;
    let login = machine.login.clone();
    let session = std::thread::spawn(move || login.answer(SESSION, &[]));
    machine.run(&format!("nohup bash -c \"{SAVES}\" > /dev/null 2>&1 < /dev/null &"))?;
    machine.run(
        "mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ && \
         tar -C /tmp/r -c . | docker import - saver",
    )?;
    machine.run(CONTAINER)?;
    machine.expect("docker logs saves | grep -q ready && test -e /home/rancher/ready")?;
    machine.expect("pgrep -f 'docker [e]vents' && pgrep -f '[b]ash -i'")?;
    machine.power_off()?;
    let console = machine.console();
    assert!(!KILLS.iter().any(|text| console.contains(text)), "{}", machine.last_lines());
    assert!(session.join().is_ok_and(|ended| ended.is_err()), "the session outlived its machine");

    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    assert_eq!(machine.run("cd /home/rancher; cat by-user by-container")?, "saved\nsaved");
    machine.run(
        "sudo system-docker run -d --name stubborn --stop-timeout 1 corral/os-base \
         sh -c 'trap \"\" TERM; while :; do sleep 1; done'",
    )?;
    machine.power_off()?;
    let console = machine.console();
    assert!(console.contains("stubborn did not stop within 1 s: killed"), "{console}");
    Ok(())
}

#[test]
fn a_power_cut_is_repaired_at_the_next_boot() -> Result<()> {
    let folder = folder("cut")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 1024)?;
    let options = Options { append: STATE.to_owned(), disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options.clone())?;
    machine.expect_login()?;
    machine.run("echo kept > /home/rancher/kept && sync")?;
    machine.cut_power()?;
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    assert!(
        machine.console().contains("was not unmounted cleanly; checking it"),
        "{}",
        machine.last_lines()
    );
    assert_eq!(
        machine.run("cat /home/rancher/kept; grep -c ' /state ' /proc/1/mountinfo")?,
        "kept\n1"
    );
    machine.check_alarms()
}

/// The file system was unmounted, and has no errors.
pub(crate) fn check_clean(disk: &Path) -> Result<()> {
    let output = Command::new("/sbin/e2fsck").arg("-n").arg(disk).env("LC_ALL", "C").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || !text.contains("RANCHER_STATE: clean") {
        bail!("the state disk is not clean: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
