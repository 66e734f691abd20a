//! Consoles of other images, as their distributions publish them: nothing is prepared in them. The
//! images are Debian's two releases, and one that has a shell and nothing else.

use super::says_all;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use vmtest::image::Image;
use vmtest::installer::device;
use vmtest::servers::{self, Server};
use vmtest::{Machine, Medium, Options, drive, folder, shell};

/// The image that the console `debian` is.
const DEBIAN: &str = "debian:stable-slim";

/// A container of the user that is there after all switches.
const SURVIVOR: &str = "tar -C / -cf - bin usr/bin/busybox | docker import - story/box && \
                        docker run -d --restart always --stop-timeout 1 --name survivor story/box \
                        /usr/bin/busybox sleep 100000";

/// After a boot, or a switch of the engine: both start it again.
const IT_RUNS: &str = "[ $(docker inspect -f '{{.State.Status}}' survivor) = running ]";

/// In the console that has a shell and nothing else.
const IS_MUSL: &str = "test -e /lib/ld-musl-x86_64.so.1";

/// Of `rancher`, on the machine's own console.
const PASSWORD: &str = "open-sesame";

/// MiB of a disk to install to; the file is sparse.
const TARGET: u64 = 4096;

/// A machine with a state disk, a blank one, and the release on a stick. Also a registry with these
/// images as `stock/NAME:1`.
fn machine(
    name: &str,
    images: &[&str],
) -> Result<(Machine, Server, vmtest::folder::Folder, String)> {
    let folder = folder(name)?;
    let registry = servers::registry(&folder)?;
    for image in images {
        let archive = stock(image)?;
        servers::push_files(&registry, &archive, &format!("stock/{image}"), &folder)?;
    }
    let host = format!("10.0.2.2:{}", registry.port);
    let disks = vec![folder.join("disk.img"), folder.join("target.img")];
    drive::blank(&disks[0], 8192)?;
    drive::blank(&disks[1], TARGET)?;
    let sticks = vec![Image::find()?.archive];
    let append = super::STATE.to_owned();
    let options = Options { disks, sticks, append, ..Options::default() };
    let config = format!(
        "hostname: stocked\nrancher:\n  password: {PASSWORD}\n  \
         system_docker: {{insecure_registry: [\"{host}\"]}}\n"
    );
    let machine = super::with_config(&folder, &config, options)?;
    Ok((machine, registry, folder, host))
}

pub(crate) fn stock(name: &str) -> Result<PathBuf> {
    Ok(Image::find()?.tools.join("stock").join(format!("{name}.tar")))
}

/// The process of the user's container. A switch of the console leaves it as it is.
fn process(machine: &Machine) -> Result<String> {
    machine.run("docker inspect -f '{{.State.Pid}} {{.State.StartedAt}}' survivor")
}

/// Detached, because the session that requests it ends.
pub(crate) fn switch(machine: &Machine, name: &str) -> Result<()> {
    let switch = format!("sudo busybox setsid ros console switch -f {name}");
    machine.run(&format!("{switch} < /dev/null > /home/rancher/switch.log 2>&1 &")).map(drop)
}

#[test]
fn a_console_needs_from_its_image_a_shell_and_nothing_else() -> Result<()> {
    let (mut machine, registry, folder, host) = machine("console-shell", &["musl"])?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(SURVIVOR)?;
    let stock = "alpine\ncentos\ndebian\ndefault\nfedora\nubuntu";
    assert_eq!(machine.run("sudo ros console list | sed 's/.* //'")?, stock);
    let before = process(&machine)?;
    switch(&machine, &format!("{host}/stock/musl:1"))?;
    machine.expect_of_boot(IS_MUSL)?;
    everything_works(&mut machine, &folder)?;
    assert_eq!(process(&machine)?, before);
    // The image has a real folder there.
    machine.run("cd /var/run && test -S docker.sock && test -e /var/run.of-image/of-image")?;
    assert_eq!(machine.run("echo $0; test -e /usr/bin/awk || echo bare")?, "sh\nbare");
    it_survives_a_restart(&mut machine)?;
    everything_works(&mut machine, &folder)?;
    an_engine_of_a_release_runs(&machine, &registry, &folder, &host)?;
    it_installs_to_a_disk(&machine, &folder)?;
    let version = machine.run("sudo ros os version")?;
    ours_returns(&mut machine)?;
    machine.power_off()?;
    assert_eq!(what_it_installed_boots(&folder)?, version);
    Ok(())
}

#[test]
fn a_stock_debian_is_a_console_unchanged() -> Result<()> {
    let images = ["trixie", "bookworm"];
    let (mut machine, _registry, folder, host) = machine("console-debian", &images)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(SURVIVOR)?;
    let trixie = format!("{host}/stock/trixie:1");
    machine.run(&format!(
        "sudo system-docker pull {trixie} && sudo system-docker tag {trixie} {DEBIAN}"
    ))?;
    let by_name = "--no-pull debian".to_owned();
    let bookworm = format!("{host}/stock/bookworm:1");
    let before = process(&machine)?;
    for (name, number) in [(by_name, "13"), (bookworm, "12")] {
        switch(&machine, &name)?;
        machine.expect_of_boot(&format!("grep -q '^{number}' /etc/debian_version"))?;
        everything_works(&mut machine, &folder)?;
        assert_eq!(process(&machine)?, before);
        assert_eq!(machine.run("echo $BASH_VERSION | cut -c1")?, "5");
        assert_eq!(machine.run("sudo dpkg --audit && dpkg -l sudo | grep -c ^ii || true")?, "0");
        machine.run("command -v apt-get")?;
        let current = format!("current  {}", name.trim_start_matches("--no-pull "));
        says_all(&machine.run("sudo ros console list")?, &[&current]);
    }
    a_password_works_on_its_terminal(&mut machine)?;
    it_survives_a_restart(&mut machine)?;
    machine.expect_docker()?;
    ours_returns(&mut machine)
}

/// getty and login are ours, the shell is the image's.
fn a_password_works_on_its_terminal(machine: &mut Machine) -> Result<()> {
    machine.type_line("rancher")?;
    machine.expect_console("assword:")?;
    machine.type_until(PASSWORD, "rancher@stocked")?;
    machine.type_until("echo \"$(cut -c1-2 /etc/debian_version) $(id -un)\"", "12 rancher")
}

/// What an owner does in a console, with the programs that we add.
fn everything_works(machine: &mut Machine, folder: &Path) -> Result<()> {
    machine.expect_of_boot("test -e /run/corral/console/login-worked")?;
    assert_eq!(machine.run("id -un; sudo -n id -u")?, "rancher\n0");
    machine.expect_docker()?;
    machine.run("docker ps && sudo system-docker ps && sudo ros status && ros --version")?;
    // A login shell has our programs too, after the image's own.
    let found = "command -v sudo && command -v docker && command -v ros";
    let path = machine.run(&format!("sh -lc 'echo $PATH && {found}'"))?;
    assert!(path.lines().next().unwrap_or_default().ends_with("/usr/lib/corral/bin"), "{path}");
    machine.run(
        "docker run --rm -v /etc:/from story/box /usr/bin/busybox test -e /from/passwd && \
         docker run -d --name web -p 8080:80 story/box /usr/bin/busybox httpd -f -p 80 && \
         docker rm -f web",
    )?;
    machine.run("sudo ros net status && sudo iptables -S > /dev/null")?;
    // The shell of busybox has a modprobe of its own.
    machine.run("/usr/lib/corral/bin/modprobe --version")?;
    installing_is_possible(machine)?;
    files_go_both_ways(machine, folder)
}

/// `ros install`, `ros os upgrade` and kexec start these programs. None has a library of the image.
fn installing_is_possible(machine: &Machine) -> Result<()> {
    machine.run(
        "cd /home/rancher && busybox dd if=/dev/zero of=disk bs=1M count=64 2> /dev/null && \
         sudo mkfs.ext4 -q -F disk && sudo e2fsck -f -p disk && sudo mkfs.fat disk && \
         echo ,,L | sudo sfdisk -q disk && sudo kexec --version && cryptsetup --version && \
         mdadm --version && busybox rm disk",
    )?;
    let libraries = machine.run(
        "for program in /usr/lib/corral/bin/*; do \
         /usr/lib/corral/ld.so --list $program 2> /dev/null; done | grep '=>' || true",
    )?;
    let foreign: Vec<&str> =
        libraries.lines().filter(|line| !line.contains("=> /usr/lib/corral/")).collect();
    assert!(foreign.is_empty() && libraries.contains("libcrypto"), "{foreign:?}");
    Ok(())
}

/// Its programs bring their own C library and loader. It is pulled from beside the releases.
fn an_engine_of_a_release_runs(
    machine: &Machine,
    registry: &Server,
    folder: &Path,
    host: &str,
) -> Result<()> {
    let archive = Image::find()?.engines.join("docker-20.10.registry.oci.tar");
    servers::push_layout(registry, &archive, "corral-engine", &folder.join("engine"))?;
    machine.run(&format!("sudo ros config set rancher.upgrade.image {host}/corral:1"))?;
    machine.run("sudo ros engine switch -y docker-20.10")?;
    says_all(&machine.run("docker version --format '{{.Server.Version}}'")?, &["20.10"]);
    machine.run("docker run --rm story/box /usr/bin/busybox true")?;
    machine.run("sudo ros engine switch -y default").map(drop)
}

/// With a loader, two file systems, and all files read back.
fn it_installs_to_a_disk(machine: &Machine, folder: &Path) -> Result<()> {
    let (disk, release) = (device(1)?, device(2)?);
    machine.run(&super::install::write_config(&shell::make_key(folder)?))?;
    let said = machine.run(&format!(
        "sudo ros install -i {release} -d {disk} -a {} -c /tmp/my.yml -y --no-reboot",
        super::install::SERIAL
    ))?;
    assert!(said.contains("is installed on"), "{said}");
    let label = |number: u32| machine.run(&format!("sudo blkid -s LABEL -o value {disk}{number}"));
    assert_eq!([label(1)?, label(2)?], ["RANCHER_STATE", "CORRAL_BOOT"]);
    its_partitions_have_the_release(machine, &disk)
}

/// Returns its version.
fn what_it_installed_boots(folder: &Path) -> Result<String> {
    let disks = vec![folder.join("target.img")];
    let options = Options { medium: Medium::Disk, disks, ..Options::default() };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "installed");
    machine.run("sudo ros console list | grep '^current *default$'")?;
    machine.check_alarms()?;
    machine.run("ros os version")
}

/// Kernel and initrd of the release, the menus of both boot loaders, and the configuration. The
/// image may have no `mount` of its own: busybox is ours.
fn its_partitions_have_the_release(machine: &Machine, disk: &str) -> Result<()> {
    let (state, boot, version) = ("/run/its-state", "/run/its-boot", env!("CARGO_PKG_VERSION"));
    machine.run(&format!(
        "sudo busybox mkdir -p {state} {boot} && \
         sudo busybox mount -t ext4 -o ro {disk}1 {state} && \
         sudo busybox mount -t vfat -o ro {disk}2 {boot}"
    ))?;
    let image = Image::find()?;
    for (name, file) in [("vmlinuz", &image.kernel), ("initrd", &image.initrd)] {
        let path = format!("{boot}/boot/{version}/{name}");
        let sum = machine.run(&format!("sudo busybox sha256sum {path} | busybox cut -c 1-64"))?;
        assert_eq!(sum, sha256(file)?, "{path}");
    }
    let serial = super::install::SERIAL;
    for (text, file) in [
        (format!("DEFAULT {version}"), "boot/current.cfg".to_owned()),
        (format!("default corral-{version}.conf"), "loader/loader.conf".to_owned()),
        (serial.to_owned(), format!("boot/{version}/menu.cfg")),
        (serial.to_owned(), format!("loader/entries/corral-{version}.conf")),
    ] {
        machine.run(&format!("sudo busybox grep -qF '{text}' {boot}/{file}"))?;
    }
    let config = "var/lib/rancher/conf/cloud-config.d/user_config.yml";
    machine.run(&format!(
        "sudo busybox grep -q 'hostname: installed' {state}/{config} && \
         sudo busybox umount {state} {boot}"
    ))?;
    Ok(())
}

fn sha256(file: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(file).output().context("starting sha256sum")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// By sftp, and by the older protocol of scp, which runs a program on the machine.
fn files_go_both_ways(machine: &Machine, folder: &Path) -> Result<()> {
    let (here, back) = (folder.join("sent"), folder.join("returned"));
    std::fs::write(&here, "a file\n")?;
    for old in [false, true] {
        let port = machine.login.port.to_string();
        let scp = |from: &str, to: &str| -> Result<()> {
            let mut scp = Command::new("scp");
            scp.args(["-F", "none", "-q", "-o", "StrictHostKeyChecking=no", "-P", &port]);
            scp.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-i"]);
            scp.arg(folder.join("key")).args(old.then_some("-O")).args([from, to]);
            let status = scp.status().context("starting scp")?;
            anyhow::ensure!(status.success(), "scp {from} {to} (old: {old}): {status}");
            Ok(())
        };
        let there = "rancher@127.0.0.1:/home/rancher/sent";
        scp(&here.to_string_lossy(), there)?;
        scp(there, &back.to_string_lossy())?;
        assert_eq!(std::fs::read_to_string(&back)?, "a file\n");
    }
    Ok(())
}

fn it_survives_a_restart(machine: &mut Machine) -> Result<()> {
    machine.run("sudo touch /etc/mine")?;
    machine.restart()?;
    machine.expect_of_boot("test -e /etc/mine")
}

fn ours_returns(machine: &mut Machine) -> Result<()> {
    machine.expect(IT_RUNS)?;
    let before = process(machine)?;
    switch(machine, "default")?;
    machine.expect_of_boot("grep -q ID=corral /etc/os-release && ! test -e /etc/mine")?;
    assert_eq!(machine.run("sudo -n id -u")?, "0");
    machine.expect_docker()?;
    assert_eq!(process(machine)?, before);
    Ok(())
}

#[test]
fn what_cannot_be_a_console_changes_nothing() -> Result<()> {
    let (mut machine, registry, folder, host) = machine("console-bad", &[])?;
    machine.expect_login()?;
    machine.run(
        "mkdir -p /tmp/i/bin /tmp/i/etc && cd /tmp/i && \
         pack() { tar -cf - . | sudo system-docker import - story/$1:1; } && \
         touch etc/passwd && pack empty && \
         cp /usr/bin/busybox bin/sh && \
         echo 'joe:x:1100:1100::/:/bin/sh' > etc/passwd && pack taken && : > etc/passwd && \
         printf '\\267' | dd of=bin/sh bs=1 seek=18 conv=notrunc 2>/dev/null && pack foreign",
    )?;
    for (image, reason) in [
        ("empty", "it has no /bin/sh; a console needs a shell"),
        ("taken", "its user joe has uid 1100, which is rancher's"),
        ("foreign", "its /bin/sh is not for this processor"),
    ] {
        let said =
            machine.run(&format!("! sudo ros console switch -f --no-pull story/{image}:1 2>&1"))?;
        assert!(said.contains(reason) && said.contains("the console stays default"), "{said}");
        assert_eq!(machine.run("sudo ros config get rancher.console")?, "default");
    }
    // No registry answers: the built-in console runs, and says so.
    machine.run(&format!("sudo ros config set rancher.console {host}/stock/none:1"))?;
    machine.restart()?;
    machine.expect_of_boot("grep -q ID=corral /etc/os-release")?;
    machine.expect_console("stock/none:1 is not on this machine yet")?;
    let banner = format!("The console {host}/stock/none:1 is not used: the built-in one runs.");
    machine.expect(&format!("grep -q '{banner}' /etc/issue"))?;
    servers::push_files(&registry, &stock("musl")?, "stock/late", &folder)?;
    the_machine_fetches_what_is_configured(&mut machine, &format!("{host}/stock/late:1"))
}

/// No command has pulled the image.
fn the_machine_fetches_what_is_configured(machine: &mut Machine, image: &str) -> Result<()> {
    machine.run(&format!("! sudo system-docker image inspect {image} 2> /dev/null"))?;
    let apply = "sudo busybox setsid ros config apply /tmp/late.yml";
    machine.run(&format!(
        "echo 'rancher: {{console: \"{image}\"}}' > /tmp/late.yml
         {apply} < /dev/null > /home/rancher/apply.log 2>&1 &"
    ))?;
    machine.expect_of_boot(IS_MUSL)?;
    machine.expect_of_boot("test -e /run/corral/console/login-worked")?;
    says_all(&machine.run("sudo ros console list")?, &[&format!("current  {image}")]);
    Ok(())
}

#[test]
fn a_console_that_lets_its_owner_in_no_longer_gives_way() -> Result<()> {
    let (mut machine, _registry, _folder, host) = machine("console-broken", &["musl"])?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(SURVIVOR)?;
    let name = format!("{host}/stock/musl:1");
    // What is enabled waits for the next boot, also over a reload of the configuration.
    machine.run(&format!(
        "sudo ros console enable {name} && echo 'rancher: {{environment: {{A: b}}}}' > /tmp/a.yml \
         && sudo ros config apply /tmp/a.yml && grep -q ID=corral /etc/os-release"
    ))?;
    let list = machine.run("sudo ros console list")?;
    assert!(
        list.contains("current  default") && list.contains(&format!("enabled  {name}")),
        "{list}"
    );
    machine.restart()?;
    machine.expect_of_boot(IS_MUSL)?;
    machine.expect_docker()?;
    machine.expect(IT_RUNS)?;
    // The owner removes the shell. The file system is kept, and so is this.
    let boot_id = machine.run("cat /proc/sys/kernel/random/boot_id")?;
    let busybox = "/usr/lib/corral/bin/busybox";
    let remove = format!("{busybox} rm /bin/busybox; exec /usr/sbin/reboot");
    let _ = machine.run(&format!("sudo {busybox} sh -c '{remove}'"));
    machine.expect_next_boot(&boot_id)?;
    machine.expect_of_boot("grep -q ID=corral /etc/os-release")?;
    machine.expect("sudo ros why | grep -q 'tried and is not used'")?;
    machine.expect_docker()?;
    machine.expect(IT_RUNS)?;
    // A new file system repairs it.
    machine.run("sudo ros config set rancher.force_console_rebuild true")?;
    machine.restart()?;
    machine.expect_of_boot(&format!("{IS_MUSL} && sudo -n id -u"))
}
