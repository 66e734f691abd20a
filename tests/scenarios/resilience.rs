//! The machine survives the death of any one process but PID 1.

use anyhow::Result;
use vmtest::folder;
use vmtest::machine::DAEMON_ENDED;
use vmtest::{Machine, Options};

#[test]
fn killed_processes_come_back_and_no_other_container_notices() -> Result<()> {
    let folder = folder("kills")?;
    let mut machine = super::with_config(&folder, "", Options::default())?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.expect(
        "[ $(sudo system-docker inspect --format '{{.State.Status}}' udev-cold) = exited ]",
    )?;
    // The daemon is killed first.
    machine.expect_alarm(DAEMON_ENDED);
    for (name, pattern) in [
        ("engine daemon", "engine-daemon"),
        ("chrony", "chronyd -d"),
        ("dockerd", "engine/usr/sbin/dockerd"),
    ] {
        let before = pids(&machine)?;
        let victim = machine.run(&format!("pgrep -of '{pattern}'"))?;
        machine.run(&format!("sudo kill -9 {victim}"))?;
        machine.expect(&format!("pgrep -of '{pattern}' | grep -vx {victim}"))?;
        machine.expect("sudo system-docker ps >/dev/null")?;
        let after = pids(&machine)?;
        let victims = ["docker", "ntp"];
        let others = |list: &str| -> Vec<String> {
            list.lines()
                .filter(|line| !victims.iter().any(|victim| line.starts_with(victim)))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(others(&before), others(&after), "after the death of {name}");
    }
    machine.expect_docker()?;
    sshd_comes_back(&mut machine)?;
    machine.check_alarms()
}

#[test]
fn containers_of_the_user_live_on_while_dockerd_is_replaced() -> Result<()> {
    let folder = folder("live-restore")?;
    let mut machine = super::with_config(&folder, "", Options::default())?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(
        "mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ && \
         tar -C /tmp/r -c . | docker import - hello
         docker run -d --name stays hello /bin/busybox sleep 1000",
    )?;
    let before = machine.run("docker inspect --format '{{.State.Pid}}' stays")?;
    machine.run("sudo system-docker restart docker")?;
    machine.expect("docker inspect --format '{{.State.Running}}' stays | grep -q true")?;
    assert_eq!(machine.run("docker inspect --format '{{.State.Pid}}' stays")?, before);
    machine.check_alarms()
}

/// `name pid`, a line for each system container.
fn pids(machine: &Machine) -> Result<String> {
    machine.run(
        "sudo system-docker inspect --format '{{.Name}} {{.State.Pid}}' \
         $(sudo system-docker ps -q) | tr -d / | sort",
    )
}

fn sshd_comes_back(machine: &mut Machine) -> Result<()> {
    let victim = machine.run("pgrep -of 'sshd.*-D'")?;
    // The story's own session is a separate process, and survives.
    machine.run(&format!("sudo kill -9 {victim}"))?;
    machine.expect(&format!("pgrep -of 'sshd.*-D' | grep -vx {victim}"))?;
    machine.expect_login()
}
