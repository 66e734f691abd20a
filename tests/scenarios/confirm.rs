//! Changes that take effect at once and are rolled back unless a user confirms them. Also invalid
//! files: the last good ones are applied in their place.

use anyhow::Result;
use std::path::Path;
use vmtest::folder;
use vmtest::{Machine, Options, drive, shell};

const CHANGE: &str = "printf 'hostname: changed\\n\
                      write_files: [{path: /etc/new, content: new}]\\nusers: [{name: ann}]\\n\
                      rancher: {network: {dns: {nameservers: [192.0.2.1]}, interfaces: {\
                      eth0: {dhcp: true, address: 10.0.2.77/24, gateway: 10.0.2.99}, \
                      br-lan: {bridge: true, address: 10.9.9.1/24}}}}\\n' > /tmp/change.yml";
/// What the change sets, and the roll-back removes.
const ON_THE_NETWORK: [&str; 3] = [
    "ip route | grep -q 'default via 10.0.2.99'",
    "ip -o address show dev eth0 | grep -q 10.0.2.77/24",
    "ip -o address show dev br-lan | grep -q 10.9.9.1/24",
];

/// A machine with a state disk. Its config drive has the story's key and `more`.
fn start(folder: &Path, more: &str) -> Result<Machine> {
    let state = folder.join("state.img");
    if !state.exists() {
        drive::blank(&state, 512)?;
    }
    let key = shell::make_key(folder)?;
    let text = format!("#cloud-config\nssh_authorized_keys:\n  - {key}\n{more}");
    let config_drive = Some(drive::make(folder, drive::Kind::ConfigDriveIso, text.as_bytes())?);
    let append = super::state_with_key(folder)?;
    let options = Options { config_drive, append, disks: vec![state], ..Options::default() };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    Ok(machine)
}

#[test]
fn an_unconfirmed_change_is_rolled_back_even_after_a_power_cut() -> Result<()> {
    let folder = folder("confirm")?;
    let mut machine = start(&folder, "")?;
    machine.run(CHANGE)?;
    let diff = machine.run("sudo ros config diff /tmp/change.yml")?;
    assert!(diff.contains("+ hostname: \"changed\""), "{diff}");
    // Active at once, without logging any user out, and rolled back automatically.
    let console = machine.run("sudo system-docker inspect --format '{{.State.Pid}}' console")?;
    machine.run("sudo ros config apply --confirm 50s /tmp/change.yml")?;
    machine.expect(
        "[ $(hostname) = changed ] && grep -q new /etc/new && id ann && \
         grep -q 192.0.2.1 /etc/resolv.conf",
    )?;
    for is_there in ON_THE_NETWORK {
        machine.expect(is_there)?;
    }
    no_other_change_is_stored_meanwhile(&machine)?;
    assert!(machine.run("sudo ros config status")?.contains("a change waits to be confirmed"));
    machine.expect_console("the change was not confirmed; it is rolled back")?;
    machine.expect("[ $(hostname) = rancher ] && ! grep -q 192.0.2.1 /etc/resolv.conf")?;
    for is_there in ON_THE_NETWORK {
        machine.expect(&format!("! {is_there}"))?;
    }
    machine
        .expect("ip route | grep -q 'default via 10.0.2.2 ' && ip -o address | grep 10.0.2.15")?;
    assert_eq!(
        machine.run("sudo system-docker inspect --format '{{.State.Pid}}' console")?,
        console
    );
    // A confirmed change stays.
    machine
        .run("sudo ros config apply --confirm 60s /tmp/change.yml && sudo ros config confirm")?;
    // Unconfirmed when the power is cut: active once more after the boot, then rolled back.
    machine.run("sudo ros config set --confirm 20s hostname unconfirmed")?;
    machine.cut_power()?;
    let mut machine = start(&folder, "")?;
    machine.expect_console("configuration: a change is rolled back in 20 s unless confirmed")?;
    machine.expect_console("the change was not confirmed; it is rolled back")?;
    machine.expect("[ $(hostname) = changed ]")?;
    assert_eq!(machine.run("sudo ros config get hostname")?, "changed");
    assert!(!machine.run("sudo ros config status")?.contains("waits to be confirmed"));
    // A second boot rolls the change back without waiting.
    machine.run("sudo ros config set --confirm 600s hostname unconfirmed")?;
    machine.cut_power()?;
    start(&folder, "")?.cut_power()?;
    let machine = start(&folder, "")?;
    assert_eq!(machine.run("hostname")?, "changed");
    machine.check_alarms()
}

/// The roll-back would undo it as well.
fn no_other_change_is_stored_meanwhile(machine: &Machine) -> Result<()> {
    for command in [
        "config set --confirm 30s hostname second",
        "config set hostname second",
        "tls generate",
        "service disable crontab",
        "service delete crontab",
        "console enable default",
        "password --hash '$6$a$b'",
    ] {
        let said = machine.run(&format!("! sudo ros {command} 2>&1"))?;
        assert!(said.contains("another change waits to be confirmed"), "{command}: {said}");
    }
    machine.run("! test -e .docker/key.pem").map(drop)
}

#[test]
fn the_last_good_file_replaces_a_bad_one() -> Result<()> {
    let folder = folder("last-good")?;
    let machine = start(&folder, "hostname: good\n")?;
    assert_eq!(machine.run("hostname")?, "good");
    machine.run("sudo ros config set rancher.environment.KEPT yes; sync")?;
    machine.run(
        "sudo sh -c 'ros config validate; \
         echo \"rancher: [\" > /var/lib/rancher/conf/cloud-config.yml'; sync",
    )?;
    machine.cut_power()?;
    // This time the drive has an error, and the store was damaged by hand.
    let mut machine = start(&folder, "hostname: worse\nrancher:\n  debug: perhaps\n")?;
    assert_eq!(machine.run("hostname")?, "good");
    assert_eq!(machine.run("sudo ros config get rancher.environment.KEPT")?, "yes");
    let status = machine.run("sudo ros config status")?;
    super::says_all(
        &status,
        &[
            "boot.yml:6:10: rancher.debug: expected true or false",
            "last-good/boot.yml takes effect instead",
            "cloud-config.yml:1:",
        ],
    );
    machine.expect_console("boot.yml:6:10: rancher.debug: expected true or false")?;
    // A login shows a warning.
    assert!(machine.run("bash -lic true 2>/dev/null")?.contains("sudo ros config status"));
    machine.check_alarms()
}
