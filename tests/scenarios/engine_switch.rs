//! A switch of the engine that fails, waits or is cut short: the image that ran before runs again,
//! and so do the user's containers.

use super::engines::{BUSYBOX, SWITCH, built_in, start, version};
use super::says_all;
use anyhow::{Result, ensure};
use std::path::Path;
use vmtest::{Machine, Options, drive, folder};

/// Builds of one name, as Docker's archives, of the programs of the built-in engine. Their dockerd
/// is a script: `old` and `new` work, `bad` does not.
const BUILDS: &str = r#"set -e
build() {
  mkdir -p /tmp/s/docker /opt/$1 && cd /var/lib/rancher/engine/usr
  cp sbin/runc bin/containerd bin/containerd-shim-runc-v2 /tmp/s/docker/
  printf '#!/bin/sh\n# %s\n%s\n' $1 "$2" > /tmp/s/docker/dockerd
  chmod 755 /tmp/s/docker/dockerd
  tar -C /tmp/s -czf /opt/$1/docker-26.1.5.tgz docker && rm -r /tmp/s
}
build old 'exec /var/lib/rancher/engine/usr/sbin/dockerd "$@"'
build new 'exec /var/lib/rancher/engine/usr/sbin/dockerd "$@"'
build bad 'case $* in *--help) exit 0;; esac; echo it is broken; exit 1'
"#;
const NAME: &str = "docker-26.1.5";

/// The image of the engine that runs.
fn running(machine: &Machine) -> Result<String> {
    machine.run("sudo system-docker inspect -f '{{.Image}}' docker")
}

/// The image that has the name.
fn named(machine: &Machine) -> Result<String> {
    machine.run(&format!("sudo system-docker inspect -f '{{{{.Id}}}}' corral/engine:{NAME}"))
}

#[test]
fn another_build_of_an_engine_has_its_name_when_it_works() -> Result<()> {
    let (mut machine, _folder) = start("engine-builds", None)?;
    let (own, own_version) = (built_in(&machine)?, version(&machine)?);
    machine.run(&format!("sudo sh -c '{}'", BUILDS.replace('\'', "'\\''")))?;
    machine.run(&format!("{SWITCH} /opt/old/{NAME}.tgz"))?;
    let old = running(&machine)?;
    assert_eq!(named(&machine)?, old);

    let images = "sudo system-docker images -aq | sort";
    let before = machine.run(images)?;
    let said = machine.run(&format!("! {SWITCH} /opt/bad/{NAME}.tgz 2>&1"))?;
    says_all(&said, &[&format!("{NAME} runs again"), "it is broken"]);
    assert_eq!((running(&machine)?, named(&machine)?), (old.clone(), old.clone()));
    assert_eq!(machine.run(images)?, before, "the image that failed is gone");
    assert_eq!(version(&machine)?, own_version);

    machine.run(&format!("{SWITCH} /opt/new/{NAME}.tgz"))?;
    let new = running(&machine)?;
    ensure!(new != old, "{new} is the old one");
    assert_eq!(named(&machine)?, new);
    machine.run("! sudo system-docker images | grep engine-candidate")?;

    // Enabled for the next boot: no reload of the configuration applies it.
    machine.run(&format!("sudo ros engine enable /opt/old/{NAME}.tgz"))?;
    machine.run("echo 'hostname: other' > /tmp/c.yml && sudo ros config apply /tmp/c.yml")?;
    machine.expect("[ $(hostname) = other ]")?;
    assert_eq!((running(&machine)?, named(&machine)?), (new.clone(), new.clone()));
    machine.run("sudo ros engine enable default && sudo ros config apply /tmp/c.yml")?;
    assert_eq!(running(&machine)?, new);
    let list = machine.run("sudo ros engine list")?;
    says_all(&list, &[&format!("current   {NAME}"), &format!("enabled   {own} ")]);
    machine.restart()?;
    machine.expect_docker()?;
    says_all(&machine.run("sudo ros engine list")?, &[&format!("current   {own} ")]);
    machine.check_alarms()
}

/// An engine that never answers: its trial takes two minutes.
const HANGS: &str = "mkdir -p /tmp/h/engine && \
    printf '#!/bin/sh\\ncase $* in *--help) exit 0;; esac\\nexec sleep 100000\\n' \
    > /tmp/h/engine/dockerd && chmod 755 /tmp/h/engine/dockerd && \
    tar -C /tmp/h -cf - engine | sudo system-docker import - corral/engine:hangs";

fn boot(folder: &Path) -> Result<Machine> {
    let disks = vec![folder.join("state.img")];
    let append = super::STATE.to_owned();
    let options = Options { disks, append, memory: 1536, ..Options::default() };
    let mut machine = super::with_config(folder, "", options)?;
    machine.expect_login()?;
    Ok(machine)
}

#[test]
fn containers_run_again_after_a_power_cut_in_a_switch() -> Result<()> {
    let folder = folder("engine-cut")?;
    drive::blank(&folder.join("state.img"), 6144)?;
    let mut machine = boot(&folder)?;
    machine.expect_docker()?;
    machine.run(BUSYBOX)?;
    let run = "busybox:1 /bin/busybox sleep 100000";
    machine.run(&format!("docker run -d --name kept --restart unless-stopped {run}"))?;
    machine.run(&format!("docker run -d --name stopped --restart unless-stopped {run}"))?;
    machine.run("docker stop -t 1 stopped")?;
    machine.run(HANGS)?;
    let switch = "sudo setsid ros engine switch -y hangs < /dev/null > /tmp/switch.log 2>&1 &";
    machine.run(switch)?;
    machine.expect(
        "[ $(sudo system-docker inspect -f '{{.Config.Image}}' docker) = corral/engine:hangs ]",
    )?;
    machine.run("sync")?;
    machine.cut_power()?;
    let mut machine = boot(&folder)?;
    machine.expect_console("engine hangs failed its trial")?;
    let state = |name: &str| format!("docker inspect -f '{{{{.State.Running}}}}' {name}");
    machine.expect_of_boot(&format!("[ $({}) = true ]", state("kept")))?;
    assert_eq!(machine.run(&state("stopped"))?, "false", "its owner stopped it");
    machine.check_alarms()
}
