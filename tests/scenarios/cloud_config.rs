//! A cloud-config with every kind of key boots as it did in RancherOS, and does what it says: host
//! name, environment, modules, mounts, swap, sysctl, `write_files`, start commands, ssh keys,
//! `ros config`.

use anyhow::Result;
use vmtest::folder;
use vmtest::{Machine, Options, drive, servers, shell};

const CONFIG: &str = r##"
hostname: rancher-test
users:
  - default
  - name: joe
    gecos: Joe Doe
    groups: [docker, staff]
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: ["@KEY@"]
bootcmd:
  - echo early > /run/bootcmd-ran
write_files:
  - {path: /home/rancher/test, content: console content}
  - {path: /etc/test-console, container: console, permissions: "0640", owner: rancher:docker,
     content: explicit}
  - {path: /etc/packed, encoding: gz+b64, content: H4sIAAAAAAACA8tIzcnJV0grys9VSK/KLOACAHgtvXgQAAAA}
  - {path: /etc/ntp.conf, container: ntp, owner: _chrony, permissions: "0640", content: for ntp}
  - {path: /var/log/from-config, container: syslog, content: for syslog}
  - {path: /etc/rsyslog.d/mine.conf, container: syslog,
     content: ':msg, contains, "for mine" /var/log/mine.log'}
  - {path: /opt/rancher/bin/start.sh, permissions: "0755",
     content: "#!/bin/sh\ntouch /run/start-ran\n"}
  - {path: /var/lib/rancher/conf/docker,
     content: "DOCKER_OPTS=\"--label sourced=$(hostname) --label two=2\"\n"}
  - {path: /etc/rc.local, permissions: "0755",
     content: "#!/bin/sh\nwait-for-docker\ndocker info && touch /run/rc-ran\n"}
  - {path: /test, content: a file to bind}
mounts:
  - [/test, /mnt/bound-file, "", bind]
  - [/dev/vdb, /mnt/ext4, ext4, ""]
  - [/dev/vdb, /mnt/guessed, "", ""]
  - [/dev/vdb, /mnt/auto, auto, defaults]
  - [LABEL=second, /mnt/labelled, auto, "noatime,nofail"]
  - [/dev/vdc, none, swap, ""]
  - [tmpfs, /mnt/memory, tmpfs, "size=1m,mode=0700"]
  - ["10.0.2.2:/export", /mnt/nfs, nfs4, "port=@NFS@"]
  - ["10.0.2.2:/export", /mnt/dead, nfs4, "port=9,nofail"]
runcmd:
  - ""
  - []
  - [touch, /run/runcmd-list-ran]
  - echo shell > /run/runcmd-shell-ran
rancher:
  resize_device: /dev/vdd
  modules: [zram]
  sysctl: {kernel.domainname: corral.test, vm.swappiness: 33}
  environment: {A: A, BB: BB, BC: BC, env/C: own, USER_VALUE: seen}
  restart_services: [syslog]
  services:
    env:
      image: corral/os-base
      command: sh -c 'env; echo ${BB}-${C}-${MISSING:-default}'
      environment: [A, "B*", C]
      labels: {io.rancher.os.scope: system}
      privileged: "true"
"##;

const USER_SERVICE: &str = r#"rancher:
  services:
    for-the-user:
      image: hello
      command: /bin/busybox sh -c "echo started with $$USER_VALUE; sleep 1000"
      environment: [USER_VALUE]
      env_file: [/home/rancher/user.env, {path: /opt/none.env, required: false}]
      labels: {x: marked}
      restart: always
      networks: {user-net: {aliases: [store]}}
      healthcheck: {test: [CMD, /bin/busybox, "true"], interval: 1s, start_interval: 1s,
                    start_period: 10s}
    after-it:
      image: hello
      command: /bin/busybox sh -c "/bin/busybox nslookup store || /bin/busybox ping -c 1 store;
        sleep 1000"
      depends_on: {for-the-user: {condition: service_healthy}}
      networks: [user-net]
    not-wanted: {image: hello, profiles: [other]}
"#;

/// User data as DigitalOcean's documentation has it.
const OF_DIGITALOCEAN: &str = include_str!("../../crates/config/tests/platforms/digitalocean.yml");

#[test]
fn every_kind_of_key_has_its_effect() -> Result<()> {
    let folder = folder("cloud-config")?;
    let (second, third) = (folder.join("second.img"), folder.join("third.img"));
    drive::blank(&second, 64)?;
    drive::blank(&third, 64)?;
    let fourth = folder.join("fourth.img");
    drive::make_partitioned(&fourth, 256, 64, "fourth")?;
    let export = folder.join("export");
    std::fs::create_dir_all(&export)?;
    std::fs::write(export.join("file"), "over nfs\n")?;
    let nfs = servers::nfs(&folder, &export)?;
    let key = shell::make_key(&folder)?;
    let config = CONFIG.replace("@KEY@", &key).replace("@NFS@", &nfs.port.to_string());
    let options = Options { disks: vec![second, third, fourth], ..Options::default() };
    let mut machine = super::with_config(&folder, &config, options)?;
    machine.expect_login()?;
    names_and_users(&machine)?;
    machine.expect("test -e /run/rc-ran")?;
    println!("docker and rc.local after {:.0} s", machine.age().as_secs_f32());
    files_are_written(&machine)?;
    messages_go_where_the_owner_wants(&mut machine)?;
    commands_ran(&machine)?;
    mounts_are_made(&mut machine)?;
    println!("mounts after {:.0} s", machine.age().as_secs_f32());
    the_kernel_is_set_up(&machine)?;
    the_console_was_prepared(&mut machine)?;
    services_run(&mut machine)?;
    println!("services after {:.0} s", machine.age().as_secs_f32());
    ros_config_reads_and_writes(&machine)?;
    machine.check_alarms()
}

fn names_and_users(machine: &Machine) -> Result<()> {
    assert_eq!(machine.run("hostname")?, "rancher-test");
    machine.run("grep -q '127.0.1.1 rancher-test' /etc/hosts")?;
    assert_eq!(machine.run("id -Gn joe")?, "joe docker staff");
    let joe = machine.login_as("joe");
    assert_eq!(joe.run("sudo id -un; echo $HOME")?, "root\n/home/joe");
    // No password, so no login by one. The accounts are not locked either: sshd refuses the keys of
    // a locked account too.
    assert_eq!(
        machine.run("sudo grep -E '^(joe|rancher|docker):' /etc/shadow | cut -d: -f2 | sort -u")?,
        "*"
    );
    Ok(())
}

fn files_are_written(machine: &Machine) -> Result<()> {
    for (command, expected) in [
        ("cat /home/rancher/test", "console content"),
        (
            "cat /etc/test-console; stat -c ' %a %U:%G' /etc/test-console",
            "explicit 640 rancher:docker",
        ),
        ("cat /etc/packed", "hello from gzip"),
        ("sudo system-docker exec ntp cat /etc/ntp.conf", "for ntp"),
        ("sudo system-docker exec ntp stat -c '%a %U' /etc/ntp.conf", "640 _chrony"),
        ("sudo system-docker exec syslog cat /var/log/from-config", "for syslog"),
    ] {
        assert_eq!(machine.run(command)?, expected, "{command}");
    }
    Ok(())
}

/// rsyslog reads the owner's files.
fn messages_go_where_the_owner_wants(machine: &mut Machine) -> Result<()> {
    machine.run("logger 'this is for mine' && logger 'this is not'")?;
    machine.expect("sudo grep -q 'this is for mine' /var/log/mine.log")?;
    machine.run("! sudo grep 'this is not' /var/log/mine.log").map(drop)
}

fn commands_ran(machine: &Machine) -> Result<()> {
    machine
        .run("cd /run && ls bootcmd-ran runcmd-list-ran runcmd-shell-ran start-ran rc-ran")
        .map(drop)
}

/// The disks have no file systems at first: that is reported and blocks nothing. Then they get
/// some.
fn mounts_are_made(machine: &mut Machine) -> Result<()> {
    assert_eq!(machine.run("cat /mnt/bound-file /mnt/nfs/file")?, "a file to bindover nfs");
    assert_eq!(
        machine.run("echo back | sudo tee /mnt/nfs/written; stat -c %a /mnt/memory")?,
        "back\n700"
    );
    assert!(
        machine.run("sudo system-docker logs console 2>&1")?.contains("/dev/vdb on /mnt/ext4:")
    );
    machine.run(
        "sudo mkfs.ext4 -q -L second /dev/vdb && sudo mkswap /dev/vdc && sudo cloud-init-execute",
    )?;
    for target in ["ext4", "guessed", "auto", "labelled"] {
        machine.run(&format!("grep -q '^/dev/vdb /mnt/{target} ext4' /proc/mounts"))?;
    }
    machine.run("grep -q ^/dev/vdc /proc/swaps")?;
    // The mount from the server that is not there was given up after its own timeout.
    machine.expect_console("on /mnt/dead: ")
}

fn the_kernel_is_set_up(machine: &Machine) -> Result<()> {
    assert_eq!(
        machine.run("cat /proc/sys/kernel/domainname /proc/sys/vm/swappiness")?,
        "corral.test\n33"
    );
    machine.run("lsmod | grep -q ^zram").map(drop)
}

/// The disk has grown and the services were restarted, by a container that exited afterwards.
fn the_console_was_prepared(machine: &mut Machine) -> Result<()> {
    machine.expect(
        "[ $(sudo system-docker inspect --format '{{.State.Status}}' \
         cloud-init-execute) = exited ]",
    )?;
    assert_eq!(machine.run("sudo system-docker logs cloud-init-execute 2>&1")?, "");
    assert_eq!(
        machine.run("cat /sys/class/block/vdd1/size; ls /var/lib/rancher/resizefs.done")?,
        "522240\n/var/lib/rancher/resizefs.done"
    );
    machine
        .run("sudo mount /dev/vdd1 /media && [ $(df -m /media | awk 'END {print $2}') -gt 200 ]")
        .map(drop)
}

fn services_run(machine: &mut Machine) -> Result<()> {
    let env = machine.run("sudo system-docker logs env")?;
    for line in ["A=A", "BB=BB", "BC=BC", "C=own", "BB-own-default"] {
        assert!(env.lines().any(|other| other == line), "{line} is not in:\n{env}");
    }
    dockers_options_are_sourced(machine)?;
    // A service of the user's Docker, which is applied as soon as its image is there.
    machine.run(
        "mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ && ln -s busybox /tmp/r/bin/sh && \
         tar -C /tmp/r -c . | docker import - hello",
    )?;
    machine.run("umask 077; printf 'USER_VALUE=no\\nOF_FILE=\"two words\"\\n' > user.env")?;
    machine.run(&format!(
        "cat > /tmp/user.yml <<'END'\n{USER_SERVICE}END\nsudo ros config apply /tmp/user.yml"
    ))?;
    machine.expect("docker logs for-the-user | grep -qx 'started with seen'")?;
    let of_file = "docker exec for-the-user /bin/busybox sh -c 'echo $USER_VALUE, $OF_FILE'";
    assert_eq!(machine.run(of_file)?, "seen, two words");
    let inspect = "docker inspect --format \
                   '{{.HostConfig.RestartPolicy.Name}} {{.Config.Labels.x}}' for-the-user";
    assert_eq!(machine.run(inspect)?, "always marked");
    machine.expect("docker ps --format '{{.Names}}' | grep -qx after-it")?;
    let health = "docker inspect --format '{{.State.Health.Status}}' for-the-user";
    assert_eq!(machine.run(health)?, "healthy");
    assert!(!machine.run("docker ps -a --format '{{.Names}}'")?.contains("not-wanted"));
    Ok(())
}

/// What the shell cannot read is reported with its line, and Docker starts without it.
fn dockers_options_are_sourced(machine: &mut Machine) -> Result<()> {
    // dockerd gives them in any order.
    let labels =
        machine.run("docker info --format '{{range .Labels}}{{println .}}{{end}}' | sort")?;
    assert_eq!(labels.trim(), "sourced=rancher-test\ntwo=2");
    machine.run(
        "printf 'A=1\\nif\\n' | sudo tee /var/lib/rancher/conf/docker; \
         sudo system-docker restart docker",
    )?;
    machine.expect("docker info --format 'up {{json .Labels}}' | grep -v sourced | grep up")?;
    let said = machine.run(
        "sudo system-docker logs docker 2>&1 | grep -A2 'conf/docker is not sourced; fix it'",
    )?;
    assert!(said.contains("line ") && said.contains("ntax error"), "{said}");
    Ok(())
}

fn ros_config_reads_and_writes(machine: &Machine) -> Result<()> {
    let run = |script: &str| machine.run(script);
    assert_eq!(run("sudo ros config get rancher.environment.BB")?, "BB");
    for (key, value, expected) in [
        ("rancher.network.dns.search", "'[a,b]'", "- a\n- b"),
        ("rancher.network.dns.search", "'[]'", "[]"),
        ("rancher.log", "true", "true"),
        ("rancher.environment.X", "text", "text"),
        ("rancher.network.interfaces.eth0.100.dhcp", "true", "true"),
    ] {
        assert_eq!(
            run(&format!(
                "sudo ros config set {key} {value} 2>/dev/null; sudo ros config get {key}"
            ))?,
            expected
        );
    }
    assert_eq!(run("sudo stat -c %a /var/lib/rancher/conf/cloud-config.yml")?, "600");
    run("sudo ros config set rancher.ssh.keys.rsa 'PRIVATE KEY'")?;
    assert!(!run("sudo ros config export")?.contains("PRIVATE KEY"));
    assert!(run("sudo rancherctl config export --private")?.contains("PRIVATE KEY"));
    assert!(run("sudo ros config export --full")?.contains("live_restore: true"));
    let explained =
        run("sudo ros config explain hostname; echo 'hostname: other' | sudo ros c merge; \
         sudo ros config explain hostname")?;
    assert!(explained.contains("from /var/lib/rancher/conf/cloud-config.yml:"), "{explained}");
    assert!(
        explained.contains(
            "overrides \"rancher-test\" from /var/lib/rancher/conf/cloud-config.d/boot.yml:"
        ),
        "{explained}"
    );
    assert!(run("sudo ros config diff")?.contains("+ hostname: \"other\""));
    assert_eq!(
        run(
            "ros config schema | grep -c '\"ssh_authorized_keys\"'; ros config schema | head -c 1"
        )?,
        "3\n{"
    );
    ros_config_validates(machine)?;
    // Fifty writers at the same time: no change of any writer is lost.
    run("for n in $(seq 50); do sudo ros config set rancher.environment.P$n $n & done; wait")?;
    assert_eq!(run("sudo ros config get rancher.environment | grep -c '^P'")?, "50");
    // An export that is merged again changes nothing.
    let again = "sudo ros config export --private > /tmp/e.yml && \
                 sudo ros config merge -i /tmp/e.yml 2>/dev/null && \
                 sudo ros config export --private | cmp - /tmp/e.yml";
    run(again).map(drop)
}

fn ros_config_validates(machine: &Machine) -> Result<()> {
    let run = |script: &str| machine.run(script);
    let refused = run(
        "printf 'hostname: [a]\\nbad_key: 1\\n' > /tmp/b.yml; ros config validate -i /tmp/b.yml; \
         echo $?",
    )?;
    assert_eq!(
        refused,
        "/tmp/b.yml:1:11: hostname: expected a host name, not a list\n\
         /tmp/b.yml:2:10: bad_key: warning: unknown key\n1"
    );
    let silent = run("printf 'rancher:\\n  system_docker: {debug: true}\\n  services:\\n    \
         a: {image: i, scale: 2, deploy: {replicas: 2}}\\n\
         write_files:\\n- {path: /etc/ntp.conf, container: ntp}\\n' \
         > /tmp/s.yml; ros config validate -i /tmp/s.yml")?;
    super::says_all(
        &silent,
        &[
            "/tmp/s.yml:2:26: rancher.system_docker.debug: warning: has no effect: ",
            "/tmp/s.yml:4:19: rancher.services.a.scale: warning: has no effect for a service of",
            "/tmp/s.yml:4:38: rancher.services.a.deploy.replicas: warning: has no effect for a",
            "/tmp/s.yml:6:3: write_files: warning: /etc/ntp.conf of the container ntp is not read",
        ],
    );
    let good = run("echo 'hostname: a' > /tmp/g.yml; ros config validate /tmp/g.yml; \
                    ros config validate --format json /tmp/g.yml")?;
    assert_eq!(good, "[]");
    let generated = run(&format!(
        "cat > /tmp/d.yml <<'END'\n{OF_DIGITALOCEAN}\nEND\nros config validate -i /tmp/d.yml"
    ))?;
    assert_eq!(generated, "");
    let why = run("sudo ros config validate; true")?;
    let unread = "write_files: warning: /etc/ntp.conf of the container ntp is not read";
    let said: Vec<&str> = why.lines().filter(|line| line.contains(unread)).collect();
    assert_eq!(said.len(), 1, "{why}");
    assert!(said[0].contains("/boot.yml:") && !said[0].contains("/boot.yml: "), "{why}");
    Ok(())
}

#[test]
fn keys_of_the_provider_are_added_and_never_twice() -> Result<()> {
    let folder = folder("key-merge")?;
    let key = shell::make_key(&folder)?;
    let text = format!("#cloud-config\nssh_authorized_keys: ['{key}']\n");
    let metadata =
        r#"{"public_keys": {"2": "two", "0": "zero", "1": "one"}, "hostname": "from-provider"}"#;
    let config_drive = Some(drive::make_with_metadata(&folder, text.as_bytes(), metadata)?);
    let mut machine = Machine::start(&folder, Options { config_drive, ..Options::default() })?;
    machine.expect_login()?;
    let keys = format!("- {key}\n- zero\n- one\n- two");
    let get = "sudo ros config get ssh_authorized_keys";
    assert_eq!(machine.run(get)?, keys);
    machine
        .run("sudo ros config set rancher.debug true; sudo ros config set rancher.debug false")?;
    assert_eq!(machine.run(get)?, keys);
    machine.run("sudo cloud-init-execute; sudo cloud-init-execute")?;
    assert_eq!(
        machine.run("cat /run/corral/ssh/authorized_keys.d/rancher")?,
        format!("{key}\nzero\none\ntwo")
    );
    assert_eq!(machine.run("hostname")?, "from-provider");
    machine.check_alarms()
}
