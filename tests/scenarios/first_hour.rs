//! What a platform writes into user data: users, passwords, names, time, certificates, swap,
//! keyboard. Each has its effect, the second boot has it too, and wrong values keep no owner out.

use super::{STATE, says_all};
use anyhow::Result;
use std::fs;
use vmtest::{Machine, Options, drive, folder, servers, shell};

/// As Proxmox writes it, and the keys that people add. The password of ops is three: `openssl
/// passwd -6 -salt saltsalt three`.
const USER_DATA: &str = r#"#cloud-config
hostname: vm-100
manage_etc_hosts: true
fqdn: vm-100.lab.example
user: ops
password: @HASH@
ssh_authorized_keys:
  - @KEY@
chpasswd:
  expire: False
  users:
    - {name: joe, password: two, type: text}
users:
  - default
  - {name: joe, groups: "docker, staff", ssh_authorized_keys: ["@KEY@"]}
package_upgrade: true
timezone: Europe/Berlin
ntp:
  servers: [10.0.2.2]
ca_certs:
  trusted:
    - |
@CERT@
swap: {filename: /swap.img, size: 16M}
keyboard: {layout: de}
growpart: {mode: auto}
"#;

const HASH: &str = "$6$saltsalt$0ushZ7aRclYWYXvoVMNARkHM0A9uB22/ti8rbbwiIcb0Y3NpaBw6P7ZwHytu\
    hXGxncH6TznnSqrLohWoEFD.b/";

const VENDOR_DATA: &str = "#cloud-config\nhostname: vendor\ndisable_root: false\n\
    write_files: [{path: /etc/from-vendor, content: here}]\n";

fn text(template: &str, key: &str, cert: &str) -> String {
    let cert: String = cert.lines().map(|line| format!("      {line}\n")).collect();
    template.replace("@HASH@", HASH).replace("@KEY@", key).replace("@CERT@\n", &cert)
}

#[test]
fn the_first_hour_on_a_platform() -> Result<()> {
    let folder = folder("first-hour")?;
    let content = folder.join("www");
    fs::create_dir_all(&content)?;
    fs::write(content.join("page"), "over TLS\n")?;
    let (web, cert) = servers::web_tls(&folder, &content)?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let user_data = text(USER_DATA, &shell::make_key(&folder)?, &cert);
    let config_drive =
        Some(drive::make_with_vendor_data(&folder, user_data.as_bytes(), VENDOR_DATA)?);
    let append = STATE.to_owned();
    let options = Options { append, disks: vec![disk], config_drive, ..Options::default() };
    let mut machine = Machine::start(&folder, options.clone())?;
    machine.expect_login()?;
    everything_has_its_effect(&mut machine, web.port)?;
    // As a power cut leaves a swap file that is not finished.
    machine.run(
        "sudo swapoff /var/lib/rancher/swap.img && sudo dd if=/dev/zero \
         of=/var/lib/rancher/swap.img bs=1M count=16 conv=fsync 2>/dev/null",
    )?;
    machine.check_alarms()?;
    machine.cut_power()?;
    // Without the drive, the machine has what it was given.
    let mut machine = Machine::start(&folder, Options { config_drive: None, ..options })?;
    machine.expect_login()?;
    everything_has_its_effect(&mut machine, web.port)?;
    // A lease of DHCP leaves the names as they are.
    assert_eq!(machine.run("hostname -f")?, "vm-100.lab.example");
    a_link_of_a_user_does_not_lead_root_elsewhere(&mut machine)?;
    machine.check_alarms()
}

fn a_link_of_a_user_does_not_lead_root_elsewhere(machine: &mut Machine) -> Result<()> {
    machine.login_as("joe").run("ln -s /etc link")?;
    machine.run(
        "echo 'write_files: [{path: /home/joe/link/of-root, content: x}]' > /tmp/files.yml && \
         sudo ros config apply /tmp/files.yml",
    )?;
    machine.expect_console("/home/joe/link is a link that the user")?;
    machine.run("! test -e /etc/of-root").map(drop)
}

fn everything_has_its_effect(machine: &mut Machine, port: u16) -> Result<()> {
    users_and_passwords(machine)?;
    assert_eq!(machine.run("hostname; cat /etc/from-vendor")?, "vm-100\nhere");
    let zone = machine.run("cat /etc/timezone; readlink /etc/localtime; date +%Z | cut -c1-2")?;
    assert_eq!(zone, "Europe/Berlin\n/usr/share/zoneinfo/Europe/Berlin\nCE");
    machine.expect("sudo system-docker exec syslog sh -c 'echo $TZ' | grep -qx Europe/Berlin")?;
    machine.expect("sudo system-docker exec ntp chronyc -n sources | grep -q 10.0.2.2")?;
    let servers = machine.run("sudo system-docker exec ntp sh -c 'cat /etc/chrony/conf.d/*'")?;
    assert_eq!(servers, "server 10.0.2.2 iburst");
    assert_eq!(machine.run(&format!("curl -sS https://10.0.2.2:{port}/page"))?, "over TLS");
    machine.run(
        "p=$(pgrep -f engine-daemon | head -1) && sudo cat /proc/$p/environ | tr '\\0' '\\n' |
         grep -qx SSL_CERT_FILE=/run/corral/ca-certificates.crt",
    )?;
    machine.expect("[ $(awk '/swap.img/ {print $3}' /proc/swaps) -gt 16000 ]")?;
    // The loader finds the keymap, and all that it includes.
    assert_eq!(machine.run("loadkeys -q -u -b de-latin1 | wc -c")?, "2823");
    let said = machine.run("sudo ros config validate 2>&1 | grep -v 'is clear text'; true")?;
    assert_eq!(said, "", "only the password of joe is a warning");
    Ok(())
}

/// The named user has the rights of rancher, and rancher stays. Passwords are for terminals.
fn users_and_passwords(machine: &Machine) -> Result<()> {
    for (user, groups) in [("rancher", "docker sudo"), ("ops", "docker sudo"), ("joe", "docker")] {
        let login = machine.login_as(user);
        let said = login.run("id -nG")?;
        assert!(said.contains(groups), "{user}: {said}");
        assert_eq!(login.methods(user)?, "publickey", "{user}");
    }
    assert_eq!(machine.login_as("ops").run("sudo id -un")?, "root");
    machine.run(
        "sudo grep -q '^ops:[$]6[$]saltsalt[$]0ushZ' /etc/shadow && \
         sudo grep -q '^joe:[$]6[$]' /etc/shadow && ! sudo grep -q '^rancher:[$]' /etc/shadow",
    )?;
    // No secret is shown.
    machine.run("! sudo ros config export | grep -e saltsalt -e two")?;
    Ok(())
}

/// Every value is wrong but the key.
const WRONG: &str = "hostname: a/b
fqdn: -x
user: a/b
password: \"two\\nlines\"
chpasswd: {expire: true, list: [nonsense, \"nobody-here:x\", \"rancher:R\"]}
users: [{name: ../x, passwd: clear}, {name: joe, hashed_passwd: clear, groups: docker}]
timezone: Europe/Berln
ntp: {servers: [\"a b\"]}
ca_certs: {remove_defaults: true, trusted: [nonsense]}
swap: {size: large}
keyboard: {layout: xx}
power_state: {mode: explode, delay: soon}
ssh_keys: {rsa_private: nonsense, ed25519_private: nonsense}
ssh_import_id: [\"gh:a/b\"]
disable_root: false
packages: [nginx]
";

#[test]
fn wrong_values_of_platforms_keep_no_owner_out() -> Result<()> {
    let folder = folder("first-hour-wrong")?;
    let mut machine = super::with_config(&folder, WRONG, Options::default())?;
    machine.expect_login()?;
    assert_eq!(machine.login_as("docker").run("id -un")?, "docker");
    assert_eq!(machine.login_as("rancher").run("sudo id -un; date +%Z")?, "root\nUTC");
    machine.run("[ $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt) -gt 100 ]")?;
    machine.expect_docker()?;
    let said = machine.run("sudo ros config validate 2>&1; true")?;
    says_all(
        &said,
        &[
            "boot.yml:4:11: hostname: ",
            "timezone: warning: unknown time zone",
            "user.name: ",
            "chpasswd.expire: warning: ",
            "users[1].hashed_passwd: ",
            "ca_certs.trusted: warning: ",
            "swap.size: ",
            "keyboard.layout: warning: ",
            "power_state.mode: ",
            "packages: warning: has no effect",
        ],
    );
    machine.check_alarms()
}

/// A service of the owner that ends after the owner's commands, once.
const WORK: &str = "rancher: {services: {work: {image: corral/os-base, network_mode: none, \
    volumes: ['/opt:/opt', '/run:/run'], \
    labels: {io.rancher.os.scope: system, io.rancher.os.detach: 'false'}, \
    command: [sh, -c, 'until test -e /run/console-done; do sleep 1; done; sleep 2; \
    test -e /opt/worked || cat /proc/sys/kernel/random/boot_id > /opt/worked']}}}\n";

/// The shutdown is requested when the commands and the rest of the boot have ended, and once.
#[test]
fn power_state_restarts_the_machine_once() -> Result<()> {
    let folder = folder("power-state")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 1024)?;
    let more = "runcmd: [\"echo $(cat /proc/sys/kernel/random/boot_id) >> /opt/boots\"]\n\
                power_state: {mode: reboot, delay: now, message: bye, timeout: 60}\n";
    let options = Options { append: STATE.to_owned(), disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, &[more, WORK].concat(), options)?;
    machine.expect_console("power_state: reboot now bye")?;
    machine.expect("[ $(wc -l < /opt/boots) = 2 ] && test -e /run/console-done")?;
    assert_eq!(machine.run("wc -l < /opt/boots")?, "2");
    machine.run("test \"$(cat /opt/worked)\" = \"$(head -n 1 /opt/boots)\"")?;
    machine.check_alarms()
}
