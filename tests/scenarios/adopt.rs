//! A disk of RancherOS becomes a disk of Corral, with RancherOS still in its boot menu. The disk is
//! made from the documented layout. The old system on it is stood in for by Corral's own kernel and
//! initrd: without a system image they report on the console that there is none.

use super::says_all;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use vmtest::installer::device;
use vmtest::report::is_left_out;
use vmtest::{Image, Machine, Medium, Options, drive, folder, shell};

/// MiB.
const DISK: u64 = 4096;
const TITLE: &str = "RancherOS v1.1.0 4.9.45-rancher";
const CURRENT: &str = "
DEFAULT rancheros-v1.1.0
LABEL rancheros-v1.1.0
    SAY rancheros-v1.1.0: RancherOS v1.1.0 4.9.45-rancher
    MENU LABEL RancherOS v1.1.0 4.9.45-rancher
    KERNEL ../vmlinuz-4.9.45-rancher
    INITRD ../initrd-v1.1.0
    # see global.cfg for kernel boot parameters

LABEL rancheros-v1.1.0-autologin
    MENU LABEL Autologin on tty1 and ttyS0
    COM32 cmd.c32
    APPEND rancheros-v1.1.0 rancher.autologin=tty1 rancher.autologin=ttyS0
";
const GLOBAL: &str = "APPEND printk.devkmsg=on rancher.state.dev=LABEL=RANCHER_STATE \
    rancher.state.wait console=tty0 console=ttyS0 rancher.environment.OLD=kept\n";
const STATE: &str = "rancher.state.dev=LABEL=RANCHER_STATE";
/// System Docker of RancherOS: an image, and a layer of a container.
const SYSTEM_DOCKER: [&str; 2] = [
    "var/lib/system-docker/image/overlay/imagedb/content/sha256/0123",
    "var/lib/system-docker/overlay/4567/root/etc/of-a-console",
];

/// Docker's data of that time, by its driver `overlay`: an image, a layer of it, and a container.
const OVERLAY: [(&str, &str); 3] = [
    (
        "var/lib/docker/image/overlay/imagedb/content/sha256/\
         1111111111111111111111111111111111111111111111111111111111111111",
        r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}"#,
    ),
    (
        "var/lib/docker/overlay/\
         2222222222222222222222222222222222222222222222222222222222222222/root/etc/of-an-image",
        "a layer",
    ),
    (
        "var/lib/docker/containers/\
         3333333333333333333333333333333333333333333333333333333333333333/config.v2.json",
        r#"{"ID": "3333333333333333333333333333333333333333333333333333333333333333",
            "Name": "/of-that-time", "Driver": "overlay", "State": {}, "Config": {}}"#,
    ),
];
/// What the container answers that always runs, on port 8080.
const PAGE: &str = "it runs again";

#[test]
fn a_rancheros_disk_is_adopted_and_rancheros_can_still_be_started() -> Result<()> {
    if is_left_out("adopt") {
        return Ok(());
    }
    let folder = folder("adopt")?;
    let disk = folder.join("disk.img");
    let host_key = make_rancheros(&folder, &disk)?;
    used_for_a_while(&folder, &disk)?;
    adopted(&folder, &disk)?;

    let boot = Options { medium: Medium::Disk, disks: vec![disk], ..Options::default() };
    let mut machine = Machine::start(&folder, boot.clone())?;
    machine.expect_login()?;
    has_all(&mut machine, &host_key)?;
    a_release_must_leave_system_docker_alone(&machine)?;
    machine.power_off()?;

    let mut machine = Machine::start(&folder, boot)?;
    machine.expect_alarms();
    machine.expect_console(&format!("{TITLE} (before Corral)"))?;
    // Behind the five entries of Corral.
    machine.type_line(&"\u{1b}[B".repeat(5))?;
    machine.expect_console("Command line: BOOT_IMAGE=/before/vmlinuz")?;
    machine.expect_console("no system image")?;
    let console = machine.console();
    let line = console.lines().rfind(|line| line.contains("BOOT_IMAGE=/before/vmlinuz"));
    let line = line.context("no command line")?;
    // The kernel shows it twice. A character may be doubled on an emulated serial line.
    says_all(&console, &[GLOBAL.trim_start_matches("APPEND ").trim()]);
    assert!(!line.contains("corral."), "{line}");
    Ok(())
}

/// A disk as `ros install` of RancherOS leaves it, and `ros config` after it. Returns the host key
/// that RancherOS has made.
fn make_rancheros(folder: &Path, disk: &Path) -> Result<String> {
    let image = Image::find()?;
    let content = folder.join("content");
    let own = folder.join("host");
    fs::create_dir_all(&own)?;
    let (key, host_key) = (shell::make_key(folder)?, shell::make_key(&own)?);
    let private = fs::read_to_string(own.join("key"))?.replace('\n', "\n        ");
    let write = |path: &str, text: &str| -> Result<()> {
        let file = content.join(path);
        fs::create_dir_all(file.parent().context("no parent")?)?;
        Ok(fs::write(file, text)?)
    };
    let conf = "var/lib/rancher/conf";
    write(
        &format!("{conf}/cloud-config.d/user_config.yml"),
        &format!("#cloud-config\nhostname: old\nssh_authorized_keys:\n  - {key}\n"),
    )?;
    write(
        &format!("{conf}/cloud-config.yml"),
        &format!(
            "rancher:\n  docker:\n    engine: docker-17.03.2-ce\n    storage_driver: overlay2\n  \
             state:\n    lvm_scan: true\n  ssh:\n    keys:\n      \
             ed25519-pub: {host_key}\n      ed25519: |\n        {private}\n"
        ),
    )?;
    for path in SYSTEM_DOCKER {
        write(path, "of System Docker")?;
    }
    for (path, text) in OVERLAY {
        write(path, text)?;
    }
    write("boot/linux-current.cfg", CURRENT)?;
    write("boot/global.cfg", GLOBAL)?;
    write("boot/syslinux/syslinux.cfg", "INCLUDE ../global.cfg\nINCLUDE ../linux-current.cfg\n")?;
    fs::copy(image.kernel, content.join("boot/vmlinuz-4.9.45-rancher"))?;
    fs::copy(image.initrd, content.join("boot/initrd-v1.1.0"))?;
    drive::make_rancheros(disk, DISK, &content)?;
    Ok(host_key)
}

/// Gives the disk a Docker with a volume and two containers, one of which runs. RancherOS does not
/// unmount its disk, so the power is cut.
fn used_for_a_while(folder: &Path, disk: &Path) -> Result<()> {
    let disks = vec![disk.to_path_buf()];
    let options = Options { append: STATE.to_owned(), disks, ..Options::default() };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(&format!(
        "echo mine > /home/rancher/data && sudo mkdir -p /opt/app && \
         tar -C / -cf - bin usr/bin/busybox | docker import - story/box && \
         docker run --name writer -v data:/data story/box /usr/bin/busybox \
         sh -c 'echo in the volume > /data/file; echo in the layer > /layer' && \
         docker run -d --name web --restart always -p 8080:80 story/box /usr/bin/busybox \
         sh -c 'echo {PAGE} > /index.html; exec /usr/bin/busybox httpd -f -p 80 -h /'"
    ))?;
    machine.expect_page(PAGE)?;
    machine.run("sync")?;
    machine.cut_power()
}

/// Adopts the disk: refused where it must be, shown, cut off by a damaged release, and completed
/// from the ISO.
fn adopted(folder: &Path, disk: &Path) -> Result<()> {
    let others = ["blank", "gpt", "small", "full"].map(|name| folder.join(format!("{name}.img")));
    let [blank, gpt, small, full] = &others;
    drive::blank(blank, 64)?;
    drive::blank(gpt, 64)?;
    drive::make_partitioned(small, 600, 599, "RANCHER_STATE")?;
    drive::make_rancheros(full, 900, &folder.join("content"))?;
    let mut disks = vec![disk.to_path_buf()];
    disks.extend(others);
    let sticks = vec![Image::find()?.archive];
    // Memory for a copy of the release.
    let options = Options { disks: disks.clone(), sticks, memory: 2048, ..Options::default() };
    let mut machine = super::with_config(folder, "hostname: installer\n", options)?;
    machine.expect_login()?;
    let release = device(disks.len())?;
    refusals(&machine, &release)?;
    let (disk, adopt) = (device(0)?, format!("sudo ros install --adopt -i {release}"));
    shown(&machine, &adopt, &disk)?;

    // The last step is to fail.
    let damaged = "/run/damaged.tar";
    machine.run(&format!(
        "sudo cp {release} {damaged} && sudo dd if=/dev/urandom of={damaged} bs=1M count=1 \
         conv=notrunc seek=$(($(sudo stat -c %s {damaged}) / 2097152)) 2> /dev/null"
    ))?;
    let said = machine.run(&format!(
        "! sudo ros install --adopt -i {damaged} -d {disk} -a {} -f --no-reboot 2>&1",
        super::install::SERIAL
    ))?;
    says_all(&said, &["of the release is damaged"]);
    machine.run(&format!("sudo rm {damaged}"))?;
    starts_the_old_system(&machine, &disk)?;
    machine.power_off()?;
    completed_from_the_iso(folder, &disks[..1])
}

/// As an owner adopts a disk: the release is that of the ISO. The disk is the first one.
fn completed_from_the_iso(folder: &Path, disks: &[PathBuf]) -> Result<()> {
    let options = Options { medium: Medium::Iso, disks: disks.to_vec(), ..Options::default() };
    let mut machine = super::with_config(folder, "hostname: installer\n", options)?;
    machine.expect_login()?;
    let (disk, serial) = ("/dev/vda", super::install::SERIAL);
    let adopt = format!("sudo ros install --adopt -d {disk}");
    let said = machine.run(&format!("{adopt} -a {serial} -f --no-reboot 2>&1"))?;
    says_all(&said, &["is installed on", &format!("{TITLE} is still in the boot menu")]);
    assert!(!said.contains("POWER LOSS"), "nothing is moved a second time: {said}");
    let said = machine.run(&format!("! {adopt} -f 2>&1"))?;
    says_all(&said, &["Corral is installed on", "ros os upgrade"]);
    machine.run(&format!("sudo e2fsck -f -n {disk}1 && sudo fsck.fat -n {disk}2"))?;
    machine.power_off()
}

fn refusals(machine: &Machine, release: &str) -> Result<()> {
    let [blank, gpt, small, full] = [1, 2, 3, 4].map(device);
    let (blank, gpt, small, full) = (blank?, gpt?, small?, full?);
    machine.run(&format!("printf 'label: gpt\\n,,L\\n' | sudo sfdisk -q {gpt}"))?;
    let adopt = format!("sudo ros install --adopt --plan -i {release}");
    for (arguments, reason) in [
        (String::new(), "which disk?"),
        (format!("-d {blank}"), "no partition table"),
        (format!("-d {gpt}"), "GPT"),
        (format!("-d {small}"), "/boot/linux-current.cfg"),
        (format!("-d {full}"), "too little room"),
        (format!("-d {full} --hostname new"), "cannot be used with"),
    ] {
        let said = machine.run(&format!("! {adopt} {arguments} 2>&1"))?;
        assert!(said.contains(reason), "{arguments}: {said}");
    }
    let said = machine.run(&format!(
        "sudo mkdir -p /run/full && sudo mount {full}1 /run/full && ! {adopt} -d {full} 2>&1 && \
         sudo umount /run/full"
    ))?;
    says_all(&said, &["is in use", "/run/full"]);
    let said = machine.run(&format!("! sudo ros install --plan -d {blank} 2>&1"))?;
    says_all(&said, &["--adopt"]);
    Ok(())
}

/// The plan, for a person and for a program. Nothing is written.
fn shown(machine: &Machine, adopt: &str, disk: &str) -> Result<()> {
    let sum = format!("sudo head -c 64M {disk} | sha256sum");
    let before = machine.run(&sum)?;
    let said = machine.run(&format!("{adopt} --plan -d {disk}"))?;
    says_all(
        &said,
        &[
            &format!("Adopting {TITLE} on {disk} (4295 MB) with Corral"),
            "was not unmounted cleanly",
            "docker     1 images, 1 containers (overlay)",
            "docker     1 images, 2 containers (overlay2)",
            "docker     1 volumes",
            "/var/lib/rancher/conf/cloud-config.yml:6: rancher.state.lvm_scan: accepted, but",
            "rancher.docker.engine: Corral has its own Docker; docker-17.03.2-ce",
            "/var/lib/docker: 1 images and 1 containers of the storage driver overlay: Docker has \
             no such driver any more",
            "rancher by ssh: 256 SHA256:",
            "(resize2fs) — A POWER LOSS HERE MAY LOSE DATA",
            "parameters console=ttyS0 rancher.environment.OLD=kept",
            "nothing was changed",
        ],
    );
    let json = machine.run(&format!("{adopt} --plan -d {disk} --format json"))?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["system"], TITLE);
    assert_eq!(json["steps"][1]["power_loss"], "may-lose-data", "{json}");
    let of_old =
        serde_json::json!({"driver": "overlay", "images": 1, "containers": 1, "usable": false});
    assert_eq!(json["docker"][0], of_old, "{json}");
    assert_eq!(machine.run(&sum)?, before);
    Ok(())
}

/// After an adoption that was cut off before its last step.
fn starts_the_old_system(machine: &Machine, disk: &str) -> Result<()> {
    machine.run(&format!(
        "sudo mkdir -p /run/old /run/new && sudo mount -r {disk}1 /run/old && \
         sudo mount -r {disk}2 /run/new && \
         sudo cmp /run/old/boot/vmlinuz-4.9.45-rancher /run/new/before/vmlinuz && \
         sudo cmp /run/old/boot/initrd-v1.1.0 /run/new/before/initrd && \
         grep -q '^DEFAULT before' /run/new/boot/syslinux/syslinux.cfg && \
         [ ! -e /run/new/boot/current.cfg ] && sudo umount /run/old /run/new"
    ))?;
    let active = machine.run(&format!("sudo sfdisk --activate {disk}"))?;
    assert_eq!(active, format!("{disk}2"));
    Ok(())
}

/// Everything that the old system had.
fn has_all(machine: &mut Machine, host_key: &str) -> Result<()> {
    assert_eq!(
        machine.run("hostname; cat /home/rancher/data; ls -d /opt/app")?,
        "old\nmine\n/opt/app"
    );
    assert_eq!(machine.run("sudo ros config get rancher.environment.OLD")?, "kept");
    let file = "/var/lib/rancher/conf/ssh/ssh_host_ed25519_key";
    let shown = machine.run(&format!("sudo ssh-keygen -y -f {file}"))?;
    let bare = host_key.split_whitespace().nth(1).context("a key of one word")?;
    assert!(shown.contains(bare), "{shown}");
    machine.expect_docker()?;
    machine.expect_page(PAGE)?;
    let docker = machine.run(
        "docker ps -a --format '{{.Names}}' | sort && docker cp writer:/layer - | tar -xO && \
         docker run --rm -v data:/data story/box /usr/bin/busybox cat /data/file",
    )?;
    assert_eq!(docker, "web\nwriter\nin the layer\nin the volume");
    // What the old system needs.
    machine.run(
        "sudo mkdir -p /run/old && sudo mount /dev/vda1 /run/old && cd /run/old/var/lib && \
         sudo ls system-docker system-docker.corral && \
         sudo cmp rancher/conf/cloud-config.yml rancher/conf.before-adoption/cloud-config.yml",
    )?;
    for path in SYSTEM_DOCKER {
        assert_eq!(machine.run(&format!("sudo cat /run/old/{path}"))?, "of System Docker");
    }
    // Docker does not show what it cannot read, and deletes none of it.
    for (path, text) in OVERLAY {
        assert_eq!(machine.run(&format!("sudo cat /run/old/{path}"))?, text);
    }
    machine.run("sudo umount /run/old")?;
    machine.check_alarms()
}

/// A release that does not declare that it does is refused, in any version and with any flag.
/// Its manifest is enough for that.
fn a_release_must_leave_system_docker_alone(machine: &Machine) -> Result<()> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let layers = ["vmlinuz", "initrd", "system.erofs"].map(|name| {
        let annotations = serde_json::json!({"org.opencontainers.image.title": name});
        serde_json::json!({"digest": digest, "size": 1, "annotations": annotations})
    });
    for version in ["0.0.1", "9.0.0"] {
        let manifest = serde_json::json!({
            "config": {"digest": digest, "size": 1},
            "layers": layers,
            "annotations": {"org.opencontainers.image.version": version},
        });
        machine.run(&format!(
            "mkdir -p old/blobs/sha256 && echo '{manifest}' > old/blobs/sha256/1 && \
             echo '{{\"manifests\":[{{\"digest\":\"sha256:1\"}}]}}' > old/index.json && \
             tar -C old -cf old.tar index.json blobs"
        ))?;
        let said = machine.run(
            "! sudo ros os upgrade -i ./old.tar --insecure --downgrade --force --no-reboot 2>&1",
        )?;
        says_all(&said, &["System Docker of RancherOS", "nothing was changed"]);
    }
    Ok(())
}
