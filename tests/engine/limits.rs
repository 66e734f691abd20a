//! Resources that run out: file descriptors, disk space. PID 1 keeps running, reports what is
//! wrong, and continues when there is room again.

use super::sandbox;
use anyhow::{Context, Result};
use std::os::unix::net::UnixStream;
use vmtest::sandbox::Sandbox;

#[test]
fn without_descriptors_pid_1_says_so_and_stays() -> Result<()> {
    let engine = sandbox("descriptors")?;
    engine.docker("run -d --name before busybox sleep 1000")?;
    // So few descriptors that another container's pipes do not fit. Only the soft limit is lowered,
    // so that it can be raised again.
    let open: usize = engine.inside("ls /proc/1/fd | wc -l")?.trim().parse()?;
    let hard = engine.inside("ulimit -Hn")?;
    engine.inside(&format!("prlimit --pid 1 --nofile={}:{hard}", open + 2))?;
    let refused = engine.run("docker run --rm busybox true 2>&1 || true")?;
    assert!(refused.contains("Too many open files"), "{refused}");
    assert!(engine.docker("ps --format '{{.Names}}'")?.contains("before"));
    engine.inside(&format!("prlimit --pid 1 --nofile={hard}:{hard}"))?;
    assert_eq!(engine.docker("run --rm busybox echo again")?, "again");
    Ok(())
}

#[test]
fn a_daemon_without_descriptors_loses_no_log() -> Result<()> {
    let engine = sandbox("daemon-descriptors")?;
    // PID 1 restarts the container by itself: its second run is the one that meets a daemon without
    // descriptors.
    let script = "if mkdir /first; then sleep 1000; else \
        i=0; while [ $i -lt 16384 ]; do \
        echo 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde; \
        i=$((i+1)); done; fi";
    engine
        .docker(&format!("run -d --name writer --restart on-failure busybox sh -c '{script}'"))?;
    let first = engine.docker("inspect -f '{{.State.Pid}}' writer")?;
    let daemon = daemon(&engine)?;
    // The daemon gets no descriptor beyond those that it has.
    let hard = engine.inside("ulimit -Hn")?;
    let full = first_free(&engine, &daemon)?;
    engine.inside(&format!("prlimit --pid {daemon} --nofile={full}:{hard}"))?;
    engine.inside(&format!("kill -9 {first}"))?;
    // The second run blocks on its pipe.
    engine.expect("pipe=$(pgrep -f '^sh -c if mkdir') && grep -q pipe /proc/$pipe/wchan")?;
    engine.inside(&format!("prlimit --pid {daemon} --nofile={hard}:{hard}"))?;
    engine.expect_docker("inspect -f '{{.State.Status}}' writer", "exited")?;
    assert_eq!(engine.docker("logs writer | wc -c")?, "1048576");
    assert_eq!(self::daemon(&engine)?, daemon, "it is the same one");
    Ok(())
}

#[test]
fn clients_that_ask_nothing_make_room_for_those_that_do() -> Result<()> {
    let engine = sandbox("idle-clients")?;
    let hard = engine.inside("ulimit -Hn")?;
    let first = daemon(&engine)?;
    // The next daemon inherits the limit that PID 1 has at this moment.
    engine.inside(&format!("prlimit --pid 1 --nofile=64:{hard} && kill -9 {first}"))?;
    engine.expect(&format!("pgrep -f '^ros engine-daemon' | grep -v '^{first}$'"))?;
    engine.wait_for_api()?;
    engine.inside(&format!("prlimit --pid 1 --nofile={hard}:{hard}"))?;
    assert_ne!(daemon(&engine)?, first);
    let idle: Vec<UnixStream> = (0..100)
        .map(|_| UnixStream::connect(engine.socket()).context("connecting"))
        .collect::<Result<_>>()?;
    let written =
        engine.run("timeout 30 docker run --rm busybox head -c 1048576 /dev/zero | wc -c")?;
    assert_eq!(written, "1048576");
    drop(idle);
    Ok(())
}

#[test]
fn a_container_that_reads_nothing_does_not_end_the_daemon() -> Result<()> {
    let engine = sandbox("closed-pipe")?;
    let before = daemon(&engine)?;
    for _ in 0..5 {
        engine.run("yes | docker run -i --rm busybox sh -c 'exec <&-; sleep 0.2' || true")?;
    }
    assert_eq!(daemon(&engine)?, before);
    Ok(())
}

fn daemon(engine: &Sandbox) -> Result<String> {
    engine.inside("pgrep -f '^ros engine-daemon'")
}

/// Shuts down the daemon's connection to PID 1 from outside: its descriptor is borrowed by
/// pidfd_getfd(2).
const HANG_UP: &str = r#"
import ctypes, os, socket, sys
daemon = int(sys.argv[1])
process = os.pidfd_open(daemon)
for number in map(int, os.listdir(f"/proc/{daemon}/fd")):
    copy = ctypes.CDLL(None).syscall(438, process, number, 0)
    if copy < 0:
        continue  # It was closed since the folder was read.
    try:
        connection = socket.socket(fileno=copy)
        if connection.getpeername() == "/run/corral/control.sock":
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
"#;

#[test]
fn a_daemon_that_pid_1_cuts_off_is_followed_by_another() -> Result<()> {
    let engine = sandbox("cut-off")?;
    engine.docker("run -d --name before busybox sh -c 'while :; do echo line; sleep 0.1; done'")?;
    let first = daemon(&engine)?;
    engine.inside(&format!("python3 -c '{HANG_UP}' {first}"))?;
    engine.expect(&format!("pgrep -f '^ros engine-daemon' | grep -v '^{first}$'"))?;
    engine.wait_for_api()?;
    let lines = engine.docker("logs before | wc -l")?;
    engine.expect(&format!(
        "[ $(cat /var/lib/system-docker/containers/*/*-json.log | wc -l) -gt {lines} ]"
    ))?;
    assert_eq!(engine.docker("run --rm busybox echo again")?, "again");
    Ok(())
}

/// The number of the next descriptor that a process gets.
fn first_free(engine: &Sandbox, pid: &str) -> Result<usize> {
    let script = format!("n=0; while [ -e /proc/{pid}/fd/$n ]; do n=$((n+1)); done; echo $n");
    Ok(engine.inside(&script)?.parse()?)
}

#[test]
fn without_descriptors_pid_1_does_not_look_for_clients_in_vain() -> Result<()> {
    let engine = sandbox("parked")?;
    let hard = engine.inside("ulimit -Hn")?;
    let full = first_free(&engine, "1")?;
    engine.inside(&format!("prlimit --pid 1 --nofile={full}:{hard}"))?;
    let ticks = "awk '{ print $14 + $15 }' /proc/1/stat";
    let before: u64 = engine.inside(ticks)?.parse()?;
    // A client whose connection cannot be accepted: it waits, and PID 1 must not spin.
    let refused = engine.ros_within(3, "os reexec")?;
    let after: u64 = engine.inside(ticks)?.parse()?;
    assert!(!refused, "there was no descriptor for it");
    assert!(after - before < 50, "PID 1 was busy for {} of 300 ticks", after - before);
    engine.inside(&format!("prlimit --pid 1 --nofile={hard}:{hard}"))?;
    engine.ros("boot")?;
    assert_eq!(engine.docker("run --rm busybox echo again")?, "again");
    Ok(())
}

#[test]
fn containers_may_open_as_much_as_the_machine_may() -> Result<()> {
    let engine = sandbox("open-files")?;
    let hard = engine.inside("ulimit -Hn")?;
    let limits = "run --rm busybox sh -c 'ulimit -n; ulimit -Hn; ulimit -c'";
    assert_eq!(engine.docker(limits)?, format!("{hard}\n{hard}\n0"));
    let own =
        "run --rm --ulimit nofile=100:200 --ulimit core=0:0 busybox sh -c 'ulimit -n; ulimit -Hn'";
    assert_eq!(engine.docker(own)?, "100\n200");
    Ok(())
}

#[test]
fn a_disk_that_is_nearly_full_loses_what_nothing_stands_on() -> Result<()> {
    let engine = sandbox("pressure")?;
    engine.inside("mount -t tmpfs -o size=64m store /var/lib/system-docker")?;
    let folder = engine.folder().display().to_string();
    let import = |name: &str| {
        let file = format!("{folder}/{name}.bin");
        engine.run(&format!(
            "head -c 6000000 /dev/urandom > {file} && tar -C {folder} -c {name}.bin \
             | docker import - {name} >/dev/null"
        ))
    };
    // An image takes its space twice: as an archive and unpacked. Two fit. The third is too much
    // beside the one that a container uses.
    import("first")?;
    engine.docker("create --name user first /x")?;
    import("second")?;
    import("third")?;
    import("fourth")?;
    import("fifth")?;
    engine.expect_docker("images --format '{{.Repository}}'", "fifth")?;
    engine
        .expect("[ $(df --output=pcent /var/lib/system-docker | tail -1 | tr -dc 0-9) -lt 90 ]")?;
    let left = engine.docker("images --format '{{.Repository}}'")?;
    assert!(left.contains("first"), "a container stands on it: {left}");
    assert!(!left.contains("second"), "it was used longest ago: {left}");
    Ok(())
}
