//! The owner's commands and Docker: Docker starts after them, unless one of them calls it.

use anyhow::Result;
use vmtest::{Options, folder};

/// An image of busybox by which there is something to run, as the machine has no registry.
const CONFIG: &str = r#"
write_files:
  - path: /etc/docker/daemon.json
    content: '{"labels": ["prepared=yes"]}'
  - path: /opt/rancher/bin/start.sh
    permissions: "0755"
    content: |
      #!/bin/sh
      wait-for-docker && docker ps --format '{{.Names}}' > /run/names-by-script
runcmd:
  - test ! -e /run/console-done && test ! -S /var/run/docker.sock && touch /run/docker-waited
  - mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/
  - tar -C /tmp/r -c . | docker import - web
  - [docker, run, -d, --restart, always, --name, web, web, /bin/busybox, sleep, "100000"]
  - echo done > /run/runcmd-done
"#;

#[test]
fn a_command_that_calls_docker_lets_it_start() -> Result<()> {
    let folder = folder("owners-commands")?;
    let mut machine = super::with_config(&folder, CONFIG, Options::default())?;
    machine.expect("test -e /run/names-by-script && cat /run/runcmd-done")?;
    assert_eq!(machine.run("ls /run/docker-waited")?, "/run/docker-waited", "it waits until then");
    assert_eq!(machine.run("cat /run/names-by-script")?, "web");
    assert_eq!(machine.run("docker info --format '{{.Labels}}'")?, "[prepared=yes]");
    assert_eq!(machine.run("docker inspect -f '{{.State.Status}}' web")?, "running");
    // In a login, `docker` is Docker's own.
    assert_eq!(machine.run("command -v docker")?, "/usr/bin/docker");
    machine.run("! sudo ros why | grep -E '^(docker|console|configuration):'").map(drop)
}
