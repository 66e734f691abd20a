//! More faults that show at the second boot: of the engines and their images, and of the owner's
//! commands, mounts, services, file modes and time stamps. The helpers are those of `second_boot`.

use super::says_all;
use super::second_boot::{
    as_root, at_both_boots, boot, configured, cut_after, cut_and_boot, has_all, reported, runs,
};
use anyhow::{Context, Result};
use vmtest::{folder, shell};

/// An image of one static program for each engine.
pub(super) const IMAGES: &str = "cd /opt && tar -C / -cf i.tar bin/busybox usr/bin/busybox && \
                                 system-docker import i.tar tiny:1 && \
                                 wait-for-docker && docker import i.tar tiny:1";

/// Records of containers and images are damaged. What they describe is reported and left as it is.
/// Everything else of the system engine is there and works, including cleanup.
#[test]
fn damaged_records_of_the_engine_cost_only_what_they_describe() -> Result<()> {
    let folder = folder("engine-records")?;
    let (machine, options) = configured(&folder, "")?;
    as_root(&machine, IMAGES)?;
    as_root(
        &machine,
        "for name in half nuls good; do
           system-docker run -d --restart always --name $name -v $name:/data tiny:1 \
             /bin/busybox sh -c 'echo kept > /data/file; exec /bin/busybox sleep 10000'
         done
         echo other > /opt/other && tar -C /opt -cf o.tar other && \
         system-docker import o.tar other:1",
    )?;
    let id = as_root(
        &machine,
        "system-docker inspect -f '{{.Id}}' half; \
         cp /proc/1/root/var/lib/system-docker/image/references.json /opt/",
    )?;
    cut_after(
        machine,
        "cd /proc/1/root/var/lib/system-docker
         half=$(system-docker inspect -f '{{.Id}}' half)
         nuls=$(system-docker inspect -f '{{.Id}}' nuls)
         other=$(system-docker inspect -f '{{.Id}}' other:1 | sed s/sha256://)
         truncate -s 100 containers/$half/container.json
         truncate -s 0 containers/$nuls/container.json
         truncate -s 500 containers/$nuls/container.json
         echo garbage > image/references.json
         truncate -s 20 image/images/$other.json
         ls image/layers > /opt/layers",
    )?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    runs(&mut machine, "good")?;
    as_root(
        &machine,
        "grep -q kept /proc/1/root/var/lib/system-docker/volumes/half/_data/file \
         /proc/1/root/var/lib/system-docker/volumes/good/_data/file",
    )?;
    as_root(
        &machine,
        &format!("test -e /proc/1/root/var/lib/system-docker/containers/{id}/container.json"),
    )?;
    machine.expect(&format!(
        "sudo ros why | grep {id}/container.json && sudo ros why | grep image/images/"
    ))?;
    as_root(
        &machine,
        "system-docker run --rm tiny:1 /bin/busybox true && system-docker tag tiny:1 tiny:2 && \
         system-docker rmi tiny:2",
    )?;
    // The layer may be all that is left of the damaged image.
    as_root(&machine, "ls /proc/1/root/var/lib/system-docker/image/layers | cmp - /opt/layers")?;
    as_root(&machine, "system-docker run -d --name half tiny:1 /bin/busybox sleep 10000")?;
    machine.expect_docker()?;
    machine.check_alarms()
}

/// dockerd's own state is damaged, and it cannot start. Login and all other services work without
/// it, and `ros why` reports it. Once the file is repaired, Docker is back with its containers.
#[test]
fn a_docker_with_damaged_state_is_named_and_costs_no_login() -> Result<()> {
    let folder = folder("docker-state")?;
    let (machine, options) = configured(&folder, "")?;
    as_root(&machine, IMAGES)?;
    as_root(
        &machine,
        "docker run -d --restart always --name app tiny:1 /bin/busybox sleep 10000; \
         system-docker stop docker; cp -a /var/lib/docker /opt/",
    )?;
    cut_after(
        machine,
        "for f in $(find /var/lib/docker/network /var/lib/docker/containerd -name '*.db' \
         2>/dev/null); do yes damaged | head -c 65536 > $f; done; \
         find /var/lib/docker -name '*.db'",
    )?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    machine.expect("sudo ros why | grep '^docker: keeps exiting'")?;
    machine.expect("sudo system-docker logs docker 2>&1 | grep -qi 'failed to start'")?;
    as_root(
        &machine,
        "system-docker run -d --name sys tiny:1 /bin/busybox sleep 10000; \
         system-docker stop docker; rm -rf /var/lib/docker/*; \
         cp -a /opt/docker/. /var/lib/docker/; system-docker start docker",
    )?;
    machine.expect_docker()?;
    machine.run("docker inspect app > /dev/null && docker run --rm tiny:1 /bin/busybox true")?;
    machine.check_alarms()
}

/// The power is cut while both engines receive an image. At the next boot both work, have the
/// images from before, and accept the same image. Incomplete data is gone when they clean up.
#[test]
fn a_power_cut_while_images_come_in_leaves_engines_that_work() -> Result<()> {
    let folder = folder("cut-in-images")?;
    let (mut machine, options) = configured(&folder, "")?;
    as_root(&machine, IMAGES)?;
    as_root(
        &machine,
        "mkdir -p /opt/r/d && cd /opt/r && \
         for n in $(seq 400); do head -c 250000 /dev/urandom > d/$n; done && \
         tar -cf /opt/big.tar . && rm -r /opt/r && sync",
    )?;
    let before: u64 = as_root(&machine, "du -sm /var/lib/docker | cut -f1")?.parse()?;
    // The first half of the image, and then nothing: both engines are in the middle of it, even on
    // a fast machine.
    as_root(
        &machine,
        "for engine in system-docker docker; do
           { head -c 50000000 /opt/big.tar; exec sleep 1000000; } | $engine import - big:1 &
         done > /dev/null 2>&1 < /dev/null",
    )?;
    let system = "du -sm /proc/1/root/var/lib/system-docker/image/incoming";
    machine.expect(&format!("[ $(sudo {system} | cut -f1) -gt 8 ]"))?;
    machine.expect(&format!("[ $(sudo du -sm /var/lib/docker | cut -f1) -gt {} ]", before + 8))?;
    machine.run("[ $(pgrep -f 'import - big:1$' | wc -l) -ge 2 ]")?;
    let mut machine = cut_and_boot(machine, &folder, &options)?;
    machine.expect_docker()?;
    for engine in ["system-docker", "docker"] {
        as_root(
            &machine,
            &format!(
                "{engine} run --rm tiny:1 /bin/busybox true && \
                 {engine} import /opt/big.tar big:1 && {engine} image prune -f"
            ),
        )?;
    }
    as_root(
        &machine,
        "system-docker rmi big:1 && \
         [ -z \"$(ls /proc/1/root/var/lib/system-docker/image/incoming)\" ]",
    )?;
    machine.run("sudo ros config validate")?;
    machine.check_alarms()
}

/// The owner's commands fail, never exit, or kill their own shell. At both boots the owner can log
/// in, and `ros why` reports what Docker waits for.
#[test]
fn commands_that_fail_or_never_exit_do_not_lock_the_owner_out() -> Result<()> {
    let folder = folder("bad-commands")?;
    let more = r##"bootcmd: [[/no/such/program], "exit 7", "kill -9 $$"]
runcmd: ["echo first > /run/first", "sleep 1000000"]
write_files:
  - {path: /opt/rancher/bin/start.sh, permissions: "0755", content: "#!/no/such/shell\n"}
  - {path: /etc/rc.local, permissions: "0755", content: "#!/bin/sh\nexit 3\n"}
"##;
    at_both_boots(&folder, more, |machine| {
        machine.expect("test -e /run/first")?;
        for text in ["bootcmd: Words([\"/no/such/program\"])", "bootcmd: Shell(\"exit 7\")"] {
            machine.expect_console(text)?;
        }
        machine.expect("sudo ros why | grep '^docker: ' | grep 'sleep 1000000'")?;
        let hanging = machine.run("pgrep -f '^sleep 1000000'")?;
        machine.run(&format!("sudo kill {hanging}"))?;
        machine.expect_docker()?;
        machine.expect("sudo system-docker logs console 2>&1 | grep -q start.sh")?;
        machine.expect("sudo system-docker logs console 2>&1 | grep -q rc.local")?;
        Ok(())
    })
}

/// Services of the owner whose image is gone at the second boot: one was removed, one is from a
/// registry that is not reachable. Each is reported with its image, its dependents wait, and
/// everything else starts.
#[test]
fn a_service_whose_image_is_gone_is_named_and_costs_only_itself() -> Result<()> {
    let folder = folder("image-gone")?;
    let more = "rancher:
  services:
    removed: {image: tiny:1, command: /bin/busybox sleep 10000, network_mode: none, \
              restart: always, labels: {io.rancher.os.scope: system}}
    away: {image: \"10.0.2.2:9/team/app:1\", network_mode: none, \
           labels: {io.rancher.os.scope: system}}
    after: {image: corral/os-base, command: sleep 10000, network_mode: none, \
            depends_on: [removed], labels: {io.rancher.os.scope: system}}
    mine: {image: corral/os-base, command: sleep 10000, network_mode: none, restart: always, \
           labels: {io.rancher.os.scope: system}}
";
    let (machine, options) = configured(&folder, more)?;
    as_root(&machine, IMAGES)?;
    as_root(&machine, &up_at_once("removed"))?;
    cut_after(machine, "rm -rf /proc/1/root/var/lib/system-docker/image")?;
    let mut machine = boot(&folder, &options)?;
    has_all(&mut machine)?;
    runs(&mut machine, "mine")?;
    machine.expect_docker()?;
    machine.expect("sudo ros why | grep '^removed: ' | grep tiny:1")?;
    machine.expect("sudo ros why | grep '^away: ' | grep 10.0.2.2:9/team/app:1")?;
    as_root(&machine, "system-docker import /opt/i.tar tiny:1")?;
    as_root(&machine, &up_at_once("removed"))?;
    runs(&mut machine, "after")?;
    machine.check_alarms()
}

/// The next attempt to get an image may be many seconds away: a command of the owner starts it at
/// once.
fn up_at_once(service: &str) -> String {
    format!(
        "ros service up {service} && \
         [ \"$(system-docker inspect --format '{{{{.State.Status}}}}' {service})\" = running ]"
    )
}

/// Owners and modes of homes, keys and configuration are wrong, and all time stamps are of another
/// century. The owner logs in and can become root, and sshd has the same host keys.
#[test]
fn wrong_owners_modes_and_time_stamps_do_not_lock_the_owner_out() -> Result<()> {
    let folder = folder("wrong-modes")?;
    let (mut machine, options) = configured(&folder, "")?;
    let host_key = as_root(&machine, "cat /var/lib/rancher/conf/ssh/ssh_host_ed25519_key")?;
    for script in [
        "chmod -R a+rwX /home /opt /var/lib/rancher; \
         chown -R 12345:12345 /home /var/lib/rancher/conf; \
         mkdir -m 777 /home/rancher/.ssh /home/rancher/.ssh/authorized_keys",
        "chmod 0 /home /home/rancher /var/lib/rancher /var/lib/rancher/conf \
         /var/lib/rancher/conf/* /var/lib/rancher/conf/*/* /opt /var/log",
        "find /home /opt /var/lib/rancher /proc/1/root/var/lib/system-docker /var/log -xdev \
         -exec touch -h -d 2099-01-01 {} +",
        "find /home /opt /var/lib/rancher /proc/1/root/var/lib/system-docker /var/log -xdev \
         -exec touch -h -d 1901-12-14 {} +",
    ] {
        cut_after(machine, script)?;
        machine = boot(&folder, &options).context(script)?;
        assert_eq!(
            as_root(&machine, "cat /home/rancher/data; hostname; id -u")?,
            "mine\nmine\n0",
            "{script}"
        );
        assert_eq!(
            as_root(&machine, "cat /var/lib/rancher/conf/ssh/ssh_host_ed25519_key")?,
            host_key,
            "{script}"
        );
        machine
            .run("sudo ros config set rancher.environment.AFTER yes && sudo ros config validate")?;
        machine.expect_docker()?;
    }
    machine.check_alarms()
}

/// Containers of both engines and a service exit as soon as they start, and are restarted for ever.
/// At the second boot they keep nothing else from starting, and the service is reported.
#[test]
fn containers_that_exit_again_and_again_keep_no_other_from_starting() -> Result<()> {
    let folder = folder("crash-loops")?;
    let more = "rancher:
  services:
    loop: {image: corral/os-base, command: \"false\", network_mode: none, restart: always, \
           labels: {io.rancher.os.scope: system, io.rancher.os.before: \"console,docker\", \
                    io.rancher.os.detach: \"true\"}}
";
    let (machine, options) = configured(&folder, more)?;
    as_root(&machine, IMAGES)?;
    as_root(
        &machine,
        "for n in $(seq 5); do
           for engine in docker system-docker; do
             $engine run -d --restart always --name bad$n tiny:1 /bin/busybox false
           done
         done
         for engine in docker system-docker; do
           $engine run -d --restart always --name steady tiny:1 /bin/busybox sleep 10000
         done",
    )?;
    let mut machine = cut_and_boot(machine, &folder, &options)?;
    machine.expect_docker()?;
    machine.expect("docker inspect --format '{{.State.Status}}' steady | grep -qx running")?;
    runs(&mut machine, "steady")?;
    machine.expect("sudo ros why | grep '^loop: keeps exiting (exit status 1'")?;
    // Their interfaces come and go. dhcpcd sees them, and does nothing there.
    machine.run("! sudo system-docker logs network 2>&1 | grep -E '^veth.*: |ipv6_addaddr'")?;
    machine.run("! sudo dmesg | grep 'dhcpcd does nothing'")?;
    machine.run(
        "[ $(sudo system-docker ps -a --filter name=bad -q | wc -l) = 5 ] && \
         [ $(docker ps -a --filter name=bad -q | wc -l) = 5 ]",
    )?;
    machine.check_alarms()
}

/// Mounts that fail, and mounts over what a login needs. Each is reported, and the owner logs in at
/// both boots.
#[test]
fn bad_mounts_are_reported_and_do_not_lock_the_owner_out() -> Result<()> {
    let folder = folder("bad-mounts")?;
    let more = "mounts:
  - [\"10.0.2.2:/gone\", /mnt/nfs, nfs4, \"port=9,nofail\"]
  - [/dev/vdx, /mnt/disk, ext4, \"\"]
  - [LABEL=nowhere, /mnt/label, auto, \"\"]
  - [tmpfs, /etc, tmpfs, \"\"]
  - [tmpfs, /run, tmpfs, \"\"]
  - [tmpfs, /usr/sbin, tmpfs, \"\"]
  - [tmpfs, /var/lib/rancher/conf, tmpfs, \"\"]
  - [tmpfs, /home, tmpfs, \"\"]
  - [tmpfs, /, tmpfs, \"\"]
  - [tmpfs, /mnt/good, tmpfs, \"\"]
";
    at_both_boots(&folder, more, |machine| {
        machine.expect_docker()?;
        // A session that was opened before the mounts proves nothing.
        machine.run("grep ' /mnt/good ' /proc/mounts")?;
        let new = machine.login_as("docker");
        new.run(
            "sudo test -s /etc/passwd && test -e /run/corral && \
             sudo test -s /var/lib/rancher/conf/cloud-config.yml",
        )?;
        let said = machine.run("sudo system-docker logs console 2>&1")?;
        for target in [
            "/mnt/disk",
            "/mnt/label",
            "/etc",
            "/run",
            "/usr/sbin",
            "/var/lib/rancher/conf",
            "/home",
            "/",
        ] {
            assert!(said.contains(&format!(" on {target}: ")), "{target} is not in:\n{said}");
        }
        Ok(())
    })
}

/// Values that the kernel refuses, modules that do not exist, and users that cannot be created.
/// Each is reported, and the valid ones take effect at both boots.
#[test]
fn what_the_kernel_and_the_accounts_refuse_costs_only_itself() -> Result<()> {
    let folder = folder("refused")?;
    let key = shell::make_key(&folder)?;
    let more = format!(
        "users:
  - {{name: root, ssh_authorized_keys: []}}
  - {{name: rancher, lock_passwd: true, shell: /no/such/shell, uid: 0}}
  - {{name: \"no such name!\"}}
  - {{name: twice, uid: 1100}}
  - {{name: badsudo, groups: [docker], sudo: \"ALL=(\"}}
  - {{name: joe, groups: [\"bad group!\", docker], ssh_authorized_keys: [\"{key}\"], \
     homedir: /proc/nowhere}}
  - {{name: ann, groups: [docker], ssh_authorized_keys: [\"not a key\", \"{key}\"]}}
rancher:
  modules: [no_such_module, \"\", ../../etc/passwd]
  sysctl: {{kernel.nothing: 1, vm.swappiness: many, kernel.pid_max: -5, \
           vm.overcommit_ratio: 33, \"..x\": 1}}
"
    );
    at_both_boots(&folder, &more, |machine| {
        let ann = machine.login_as("ann");
        assert_eq!(ann.run("id -un; cat /proc/sys/vm/overcommit_ratio")?, "ann\n33");
        let joe = machine.login_as("joe");
        assert_eq!(joe.run("id -un")?, "joe");
        assert_eq!(machine.run("id -un; id -u; sudo id -u")?, "rancher\n1100\n0");
        let console = machine.console();
        says_all(
            &console,
            &["no_such_module", "kernel/nothing", "vm/swappiness", "kernel/pid_max"],
        );
        let said = format!(
            "{}{}",
            machine.run("sudo system-docker logs console 2>&1")?,
            reported(machine)?
        );
        says_all(
            &said,
            &["no such name!", "bad group!", "badsudo", "users[6].ssh_authorized_keys: warning"],
        );
        machine.expect_docker()?;
        Ok(())
    })
}
