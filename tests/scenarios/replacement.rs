//! A replacement console and a replacement engine, by service files. A console that cannot work
//! locks no user out. What was installed in a persistent console is there after a restart, until
//! the owner requests a new one.

use super::STATE;
use anyhow::Result;
use vmtest::{Machine, Options, drive, folder};

/// Service files as in a repository: a console without a shell, a persistent one, and an engine.
const FILES: &str = r#"set -e
mkdir -p /opt/other && cd /opt/other
cat > bad.yml <<EOF
console: {image: story/bad:1, labels: {io.rancher.os.scope: system}}
EOF
cat > console.yml <<EOF
console:
  image: story/console:1
  volumes_from: [all-volumes]
  labels: {io.rancher.os.scope: system, io.docker.compose.rebuild: "false",
           io.rancher.os.console: other}
EOF
cat > engine.yml <<EOF
docker:
  image: story/engine:1
  volumes_from: [all-volumes]
  labels: {io.rancher.os.scope: system, io.rancher.os.after: console}
EOF
echo 'NAME=Other' > other-release
printf 'PasswordAuthentication yes\nPermitRootLogin yes\n' > sshd_config
mkdir -p b/etc && tar -C b -cf - etc | system-docker import - story/bad:1
mkdir -p e/engine
printf '%s\n' '#!/bin/sh' 'echo other > /run/which-engine' \
  'exec /var/lib/rancher/engine/usr/sbin/dockerd "$@"' > e/engine/dockerd
chmod 755 e/engine/dockerd
system-docker create --name base corral/os-console true
system-docker cp other-release base:/etc/other-release
system-docker cp sshd_config base:/etc/ssh/sshd_config
system-docker export base | system-docker import - story/console:1
system-docker rm base
tar -C e -cf - engine | system-docker import - story/engine:1
mkdir -p d/usr/local/bin
sed 's/echo other/echo own-layout/' e/engine/dockerd > d/usr/local/bin/dockerd
chmod 755 d/usr/local/bin/dockerd
tar -C d -cf - usr | system-docker import - story/dind:1
sed s,story/engine,story/dind, engine.yml > dind.yml
"#;

#[test]
fn another_console_and_engine_take_the_place_of_ours() -> Result<()> {
    let folder = folder("replacement")?;
    let disk = folder.join("disk.img");
    drive::blank(&disk, 4096)?;
    let options = Options { append: STATE.to_owned(), disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    machine.run(&format!("sudo sh -c '{}'", FILES.replace('\'', "'\\''")))?;

    bad_ones_are_refused(&mut machine)?;

    request(&machine, "rancher: {console: /opt/other/console.yml}")?;
    machine.expect("test -e /etc/other-release")?;
    request(&machine, "rancher: {docker: {engine: /opt/other/engine.yml}}")?;
    machine.expect("test -e /run/which-engine")?;
    machine.expect_docker()?;
    machine.run("docker version && sudo touch /etc/mine")?;

    images_of_docker_are_engines_too(&mut machine)?;

    let current = "current  /opt/other/console.yml\ndisabled default";
    let list = "sudo ros console list | grep -e ^current -e default";
    assert_eq!(machine.run(list)?, current);
    let engines = machine.run("sudo ros engine list")?;
    let own = format!("disabled  {}", super::engines::built_in(&machine)?);
    super::says_all(&engines, &["current   /opt/other/engine.yml", &own]);

    machine.restart()?;
    machine.expect("test -e /etc/other-release && test -e /etc/mine")?;
    // The image does not decide who may log in.
    assert_eq!(machine.login.methods("rancher")?, "publickey");
    let said = machine.run("sudo /usr/sbin/sshd -T -f /run/corral/ssh/sshd_config")?;
    assert!(said.contains("permitrootlogin no") && said.contains("allowgroups docker"), "{said}");
    machine.expect_docker()?;
    assert_eq!(machine.run("cat /run/which-engine")?, "other");
    are_named(&machine, "/opt/other/console.yml", "/opt/other/engine.yml")?;

    machine.run("sudo ros config set rancher.force_console_rebuild true")?;
    machine.restart()?;
    machine.expect("test -e /etc/other-release && ! test -e /etc/mine")?;
    machine.expect("[ $(sudo ros config get rancher.force_console_rebuild) = false ]")?;

    let switch = "sudo setsid ros console switch -f default < /dev/null > /tmp/switch.log 2>&1 &";
    machine.run(&format!("sudo ros engine enable default && {switch}"))?;
    machine.expect("! test -e /etc/other-release")?;
    assert_eq!(machine.run(list)?, "current  default");
    machine.expect_docker()?;
    are_named(&machine, "default", "default")?;

    // A different image under the name of one that was good must be checked again.
    machine.run("sudo system-docker tag story/bad:1 story/console:1")?;
    request(&machine, "rancher: {console: /opt/other/console.yml}")?;
    machine.expect(
        "[ $(sudo system-docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' \
         console-check | tr -d ' ') = exited1 ]",
    )?;
    machine
        .run("! test -e /etc/other-release && sudo system-docker ps | grep -q corral/os-console")
        .map(drop)
}

/// As scripts of RancherOS's time read it.
fn are_named(machine: &Machine, console: &str, engine: &str) -> Result<()> {
    let names = machine.run("cat /run/console-done /run/docker-done")?;
    assert_eq!(names, format!("{console}\n{engine}"));
    Ok(())
}

fn images_of_docker_are_engines_too(machine: &mut Machine) -> Result<()> {
    // Docker's own images have it elsewhere. Options of an old file do not end dockerd.
    request(
        machine,
        "rancher: {docker: {engine: /opt/other/dind.yml, storage_driver: overlay, \
         extra_args: [--storage-driver, overlay, -g, /var/lib/docker]}}",
    )?;
    machine.expect("grep own-layout /run/which-engine")?;
    machine.expect("[ \"$(docker info --format '{{.Driver}}')\" = overlay2 ]")?;
    let said = machine.run("sudo ros config validate; true")?;
    super::says_all(&said, &["overlay2 is used", "they are translated: write --data-root for -g"]);
    request(
        machine,
        "rancher: {docker: {engine: /opt/other/engine.yml, storage_driver: \"\", extra_args: []}}",
    )?;
    machine.expect("grep other /run/which-engine")?;
    machine.expect_docker()
}

/// One that is in no repository, and one whose image lacks a program.
fn bad_ones_are_refused(machine: &mut Machine) -> Result<()> {
    request(machine, "rancher: {console: missing}")?;
    machine.expect_console("missing is no console of this system (`ros console list`)")?;
    request(machine, "rancher: {console: /opt/other/bad.yml}")?;
    machine.expect_console("replacement image of console is not used: it has no /bin/sh")?;
    // The command refuses it too, and the previous setting stays active.
    machine.run("sudo ros config set rancher.console default")?;
    let said = machine.run("! sudo ros console switch -f /opt/other/bad.yml 2>&1")?;
    assert!(
        said.contains("the console stays default") && said.contains("it has no /bin/sh"),
        "{said}"
    );
    assert_eq!(machine.run("sudo ros config get rancher.console")?, "default");
    assert_eq!(machine.run("test -e /etc/other-release || echo ours")?, "ours");
    Ok(())
}

/// Applies it detached, because the session that requests it may end.
fn request(machine: &Machine, config: &str) -> Result<()> {
    let apply = "sudo setsid ros config apply /opt/new.yml < /dev/null > /tmp/new.log 2>&1 &";
    machine.run(&format!("echo '{config}' | sudo tee /opt/new.yml > /dev/null; {apply}")).map(drop)
}
