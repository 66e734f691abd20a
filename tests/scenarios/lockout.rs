//! The worst case for an owner: a configuration after which they cannot log in. Ten bad ones in a
//! row, each stored on a state disk and followed by a boot. Then a resolver that never returns.

use anyhow::{Context, Result};
use std::path::Path;
use vmtest::{Machine, Options, drive, folder};

/// A bad configuration.
struct Bad {
    name: &'static str,
    /// Prints it, as root; `$FILE` is the file that its output goes to.
    script: &'static str,
    /// What `ros config validate` reports after the boot.
    says: &'static str,
}

const FILE: &str = "/var/lib/rancher/conf/cloud-config.d/50-bad.yml";
const BAD: [Bad; 10] = [
    Bad {
        name: "numbers out of range",
        script: "echo 'rancher: {ssh: {port: 70000}, shutdown_timeout: -1, \
                 network: {interfaces: {eth0: {dhcp: true, mtu: 5000000000}}}}'",
        says: "rancher.ssh.port: ",
    },
    Bad {
        name: "600 kB of unknown keys",
        script: "seq 1 60000 | sed 's/.*/k&: x/'",
        says: "more ",
    },
    Bad {
        name: "aliases that expand to 9 MB",
        script: r#"printf 'write_files:\n- {path: /tmp/x, content: &x "'
head -c 900000 /dev/zero | tr '\0' x
printf '"}\n'
for n in 1 2 3 4 5 6 7 8 9 10; do echo "- {path: /tmp/$n, content: *x}"; done"#,
        says: "50-bad.yml",
    },
    Bad {
        name: "two circles, one of them through the console",
        script: r#"cat > /var/lib/rancher/conf/circles.yml <<EOF
services:
  a: {image: corral/os-base, command: sleep 99, network_mode: none, depends_on: [b]}
  b: {image: corral/os-base, command: sleep 99, network_mode: none, depends_on: [a]}
  c:
    image: corral/os-base
    command: sleep 99
    network_mode: none
    labels: {io.rancher.os.before: console, io.rancher.os.after: docker}
EOF
echo 'rancher: {services_include: {/var/lib/rancher/conf/circles.yml: true}}'"#,
        says: "dependency cycle detected",
    },
    Bad {
        name: "names of the system's services",
        script: r#"cat <<EOF
rancher:
  services:
    console: {image: corral/os-base, command: sleep 9, labels: {io.rancher.os.scope: system}}
    network: {image: corral/os-base, network_mode: none}
    docker: {image: corral/os-base, command: "false", labels: {io.rancher.os.scope: system}}
    udev: {restart: "no"}
EOF"#,
        says: "50-bad.yml:3:15: rancher.services.console.image: console is a service of the system",
    },
    Bad {
        name: "a device in place of a file",
        script: r#"cat <<EOF
rancher:
  services:
    eater:
      image: corral/os-base
      env_file: /dev/zero
      labels: {io.rancher.os.scope: system}
EOF"#,
        says: "/dev/zero is not a regular file",
    },
    Bad { name: "no YAML at all", script: "echo '{[ never closed'", says: "50-bad.yml:" },
    Bad {
        name: "a file for sshd that sshd cannot read",
        script: r#"cat <<EOF
write_files:
- path: /etc/ssh/sshd_config.d/mine.conf
  content: |
    PasswordAuthentication yes
    NoSuchSetting perhaps
EOF"#,
        says: "",
    },
    Bad {
        name: "volumes that cannot be mounted",
        script: r#"cat <<EOF
rancher:
  services:
    console:
      volumes: [/proc/none/x:/data, /etc/hosts:/home, /etc/hosts:/media/x, /home:/etc/profile]
EOF"#,
        says: "rancher.services.console.volumes: ",
    },
    Bad {
        name: "three gigabytes",
        script: "truncate -s 3G $FILE",
        says: "at most 1048576 are read",
    },
];

#[test]
fn ten_bad_configurations_in_a_row_and_a_login_after_each() -> Result<()> {
    let folder = folder("lockout")?;
    let disk = folder.join("disk.img");
    drive::blank(&disk, 8192)?;
    let append = super::STATE;
    let options =
        Options { disks: vec![disk.clone()], append: append.to_owned(), ..Options::default() };
    let mut machine = super::with_config(&folder, "hostname: mine\n", options)?;
    machine.expect_login()?;
    for bad in &BAD {
        let script = bad.script.replace('\'', "'\\''");
        machine.run(&format!(
            "sudo rm -f {FILE}; sudo sh -c 'FILE={FILE}; ({script}\n) >> $FILE'; sync"
        ))?;
        machine.restart().with_context(|| format!("after {}", bad.name))?;
        is_well(&mut machine, bad)?;
    }
    machine.run(&format!("sudo rm {FILE}; sync; sudo ros config validate"))?;
    machine.check_alarms()?;
    machine.cut_power()?;
    a_resolver_that_is_killed_leaves_the_login(&folder, &disk)
}

fn is_well(machine: &mut Machine, bad: &Bad) -> Result<()> {
    let said = machine.run("sudo ros config validate; true")?;
    assert!(said.contains(bad.says), "{}: {said}", bad.name);
    assert!(said.lines().count() <= 120, "{}: {} lines", bad.name, said.lines().count());
    assert_eq!(machine.run("hostname")?, "mine", "{}", bad.name);
    assert_eq!(machine.run("sudo ros config get rancher.ssh.daemon")?, "true", "{}", bad.name);
    assert!(machine.run("grep ' /home ' /proc/1/mountinfo")?.contains("ext4"), "{}", bad.name);
    // Docker starts later than a login. The story waits for it only where the configuration tries
    // to replace it.
    let names: &[&str] =
        if bad.says.contains(".console.image") { &["network", "docker"] } else { &["udev"] };
    for name in [&["console"], names].concat() {
        let image = format!("sudo system-docker inspect --format '{{{{.Config.Image}}}}' {name}");
        machine.expect(&format!("[ $({image}) = corral/os-{name} ]"))?;
    }
    assert_eq!(machine.login.methods("rancher")?, "publickey", "{}", bad.name);
    Ok(())
}

/// The first configuration that this machine sees has the owner's key, and a service whose file
/// ends the resolver. The key is kept before that file is read: it opens this boot and every later
/// one.
#[test]
fn a_key_that_comes_with_what_kills_the_resolver_opens_this_boot_and_the_next() -> Result<()> {
    let folder = folder("killed-late")?;
    let disk = folder.join("disk.img");
    drive::blank(&disk, 2048)?;
    let append = format!("{} corral.fault=resolver-killed-late", super::STATE);
    let options =
        Options { disks: vec![disk.clone()], append: append.clone(), ..Options::default() };
    let mut machine = super::with_config(&folder, "hostname: mine\n", options)?;
    // cloud-init has read the drive, and the configuration was resolved again.
    machine.expect_console("configuration: the resolver ended without a complete answer")?;
    machine.expect_console("no user could log in; resolving again without the owner's files")?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "mine");
    machine.cut_power()?;
    let options = Options { disks: vec![disk], append, ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "mine");
    machine.check_alarms()
}

/// No config drive and no key on the command line: only the login of the last good configuration is
/// left.
fn a_resolver_that_is_killed_leaves_the_login(folder: &Path, disk: &Path) -> Result<()> {
    let append = "rancher.state.dev=LABEL=RANCHER_STATE corral.fault=resolver-killed".to_owned();
    let options = Options { disks: vec![disk.to_path_buf()], append, ..Options::default() };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    machine.expect_console("configuration: the resolver ended early (signal: 9 (SIGKILL)")?;
    assert_eq!(machine.run("hostname")?, "mine");
    assert!(machine.run("grep ' /home ' /proc/1/mountinfo")?.contains("ext4"));
    let why = machine.run("sudo ros why; true")?;
    assert!(why.contains("configuration: the resolver ended early"), "{why}");
    assert!(machine.run("cat /run/corral/notice")?.contains("sudo ros"));
    let applied = machine
        .run("echo 'hostname: other' > /tmp/a.yml; ! sudo ros config apply /tmp/a.yml 2>&1")?;
    assert!(applied.contains("the active configuration is unchanged"), "{applied}");
    machine.expect_docker()?;
    machine.check_alarms()
}
