//! A replacement engine that does not work does not stay. Docker's own static programs do.

use super::engines::{RUN, SWITCH, built_in, start, version};
use super::says_all;
use anyhow::Result;

/// Docker's own layout, of the programs of the built-in engine. These are not static, so dockerd is
/// a script: the image check runs no script.
const STATIC: &str = r#"set -e
mkdir -p /tmp/s/docker && cd /var/lib/rancher/engine/usr
cp sbin/runc bin/containerd bin/containerd-shim-runc-v2 /tmp/s/docker/
printf '#!/bin/sh\nexec %s "$@"\n' $PWD/sbin/dockerd > /tmp/s/docker/dockerd
chmod 755 /tmp/s/docker/dockerd
sudo tar -C /tmp/s -czf /opt/docker-26.1.5.tgz docker && rm -r /tmp/s"#;
/// An engine whose program is this script.
const BROKEN: &str = r#"set -e
broken() {
  mkdir -p /tmp/$1/engine && printf '#!/bin/sh\n%s\n' "$2" > /tmp/$1/engine/dockerd
  chmod 755 /tmp/$1/engine/dockerd
  tar -C /tmp/$1 -cf - engine | system-docker import - corral/engine:$1 > /dev/null
}
broken exits 'case $* in *--help) exit 0;; esac; echo it is broken; exit 1'
broken hangs 'case $* in *--help) exit 0;; esac; exec sleep 100000'
"#;

#[test]
fn an_engine_that_does_not_work_does_not_stay() -> Result<()> {
    let (mut machine, _folder) = start("engines-broken", None)?;
    let (own, own_version) = (built_in(&machine)?, version(&machine)?);
    machine.run(&format!("sudo sh -c '{}'", BROKEN.replace('\'', "'\\''")))?;
    for (name, reason) in [("exits", "it is broken"), ("hangs", "did not answer within")] {
        let said = machine.run(&format!("! {SWITCH} {name} 2>&1"))?;
        says_all(&said, &[&format!("{own} runs again"), reason]);
        assert_eq!(version(&machine)?, own_version);
        assert_eq!(machine.run(RUN)?, "it runs");
        assert_eq!(machine.run("sudo ros config get rancher.docker.engine")?, "default");
        machine.expect_console(&format!("engine {name} failed its trial"))?;
        says_all(&machine.run("! sudo ros why")?, &[&format!("{name} failed its trial")]);
    }
    // What cannot be an engine changes nothing.
    let said = machine.run(&format!("! {SWITCH} corral/os-base 2>&1"))?;
    says_all(&said, &["has no /engine/dockerd", "nothing was changed"]);

    // Docker's own archive, and an option that it does not know.
    machine.run(STATIC)?;
    machine.run("sudo ros config set rancher.docker.extra_args '[--no-such-option, x]'")?;
    machine.run(&format!("{SWITCH} /opt/docker-26.1.5.tgz"))?;
    says_all(&machine.run("sudo ros engine list")?, &["current   docker-26.1.5"]);
    machine.expect_console("this engine has no --no-such-option; left out")?;
    assert_eq!(machine.run(RUN)?, "it runs");
    machine.run("! sudo ros why | grep trial")?;
    machine.check_alarms()
}
