//! PID 1 under load and under its own bugs.

use super::{program, sandbox};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use vmtest::sandbox::Sandbox;
use vmtest::{Image, report};

const CONTAINERS: usize = 100;
const FOLLOWERS: usize = 10;
const LINES: usize = 300;

#[test]
fn nothing_is_lost_when_pid_1_is_replaced() -> Result<()> {
    let engine = sandbox("reexec")?;
    let writing = format!(
        "i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); sleep 0.02; done; sleep 1000"
    );
    let names = (0..CONTAINERS).map(|number| format!("c{number:03}")).collect::<Vec<_>>();
    engine.run(&format!(
        "for n in {}; do docker run -d --name $n busybox sh -c '{writing}' >/dev/null & \
         [ $(jobs -rp | wc -l) -lt 8 ] || wait -n; done; wait",
        names.join(" ")
    ))?;
    let pids = engine.docker("inspect -f '{{.State.Pid}}' $(docker ps -q)")?;
    assert_eq!(pids.lines().count(), CONTAINERS);
    let followers = follow(&engine, &names)?;
    let exec = engine
        .client("docker")
        .args(["exec", "c000", "sh", "-c", "sleep 5; echo exec alive"])
        .stdout(Stdio::piped())
        .spawn()?;
    engine.ros("os reexec")?;
    if Image::find()?.has_hooks()? {
        engine.ros("os panic")?;
    } else {
        println!("the step with a bug in PID 1 is left out: this image has none on request");
    }
    engine.run("docker restart -t 0 c099 >/dev/null & docker run --rm busybox true; wait")?;
    engine.ros("os reexec")?;
    assert_eq!(String::from_utf8(exec.wait_with_output()?.stdout)?, "exec alive\n");
    let after = engine.docker("inspect -f '{{.State.Pid}}' $(docker ps -q)")?;
    let lost = pids.lines().filter(|pid| !after.lines().any(|other| other == *pid)).count();
    assert_eq!(lost, 1, "only the container that was restarted has another process");
    engine.run("docker kill $(docker ps -q) >/dev/null")?;
    let wanted: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    for (name, mut child, path) in followers {
        child.wait()?;
        let got = std::fs::read_to_string(&path)?;
        if name != "c099" {
            assert_eq!(got.lines().count(), LINES, "{name}: what a follower got");
            assert_eq!(got, wanted, "{name}: every line once, in order");
        }
    }
    let log = engine.docker("logs c042")?;
    assert_eq!(format!("{log}\n"), wanted);
    Ok(())
}

/// Ten followers of each container.
fn follow(engine: &Sandbox, names: &[String]) -> Result<Vec<(String, Child, std::path::PathBuf)>> {
    let mut all = Vec::new();
    for name in names {
        let path = engine.folder().join(format!("follow-{name}"));
        let script = format!(
            "exec curl -sN --unix-socket {} 'http://x/containers/{name}/logs?follow=1&stdout=1'",
            engine.socket()
        );
        // Nine followers whose output is discarded, and one whose every byte is compared.
        for _ in 1..FOLLOWERS {
            let quiet =
                engine.client("bash").args(["-c", &script]).stdout(Stdio::null()).spawn()?;
            drop(quiet);
        }
        let child = engine
            .client("docker")
            .args(["logs", "-f", name])
            .stdout(File::create(&path)?)
            .spawn()?;
        all.push((name.clone(), child, path));
    }
    Ok(all)
}

#[test]
fn no_time_is_too_long_for_a_stop() -> Result<()> {
    let engine = sandbox("long-stop")?;
    for (name, time) in [("largest", i64::MAX), ("never", -1)] {
        let stays = "trap 'echo asked' TERM; while :; do sleep 0.1; done";
        engine
            .docker(&format!("run -d --stop-timeout 1 --name {name} busybox sh -c \"{stays}\""))?;
        let mut stop = engine
            .client("docker")
            .args(["stop", "-t", &time.to_string(), name])
            .stdout(Stdio::null())
            .spawn()?;
        engine.expect_docker(&format!("logs {name}"), "asked")?;
        // Longer than the stop timeout of the container itself.
        assert_eq!(
            engine.run(&format!("timeout 2 docker wait {name} || echo $?"))?,
            "124",
            "{time}"
        );
        assert_eq!(
            engine.docker(&format!("inspect -f '{{{{.State.Running}}}}' {name}"))?,
            "true",
            "{time}"
        );
        engine.docker(&format!("kill {name}"))?;
        assert!(stop.wait()?.success(), "{time}");
    }
    let stays = engine.docker("run -d --stop-timeout -1 busybox sleep 1000")?;
    let said = engine.docker(&format!("inspect -f '{{{{.Config.StopTimeout}}}}' {stays}"))?;
    assert_eq!(said, "-1");
    assert!(
        !engine.inside("tr '\\0' ' ' < /proc/1/cmdline")?.contains("--resume"),
        "PID 1 panicked"
    );
    Ok(())
}

#[test]
fn a_bug_without_end_ends_pid_1() -> Result<()> {
    if !Image::find()?.has_hooks()? {
        report::skipped("what is packed as a release has no bugs on request");
        return Ok(());
    }
    let mut engine = sandbox("bugs")?;
    engine.docker("run -d --name before busybox sleep 1000")?;
    engine.inside("touch /run/corral/broken")?;
    // This wakes PID 1; the answer may not arrive any more.
    let _ = engine.ros("os reexec");
    engine.expect_end()
}

#[test]
fn containers_are_there_after_a_crash_of_everything() -> Result<()> {
    let mut engine = sandbox("crash")?;
    engine.run(
        "docker run -d --name kept --restart always busybox sleep 1000; \
         docker run -d --name stays --restart unless-stopped busybox sleep 1000; \
         docker stop -t 0 stays; docker run --name done busybox sh -c 'echo said; exit 4'; \
         docker network create --label a=b net; docker volume create vol; true",
    )?;
    engine.restart(program())?;
    engine.expect_docker("ps --format '{{.Names}} {{.State}}'", "kept running")?;
    let all = engine.docker("ps -a --format '{{.Names}} {{.State}}' | sort")?;
    assert_eq!(all, "done exited\nkept running\nstays exited");
    assert_eq!(
        engine.docker(
            "logs done; docker inspect -f '{{.State.ExitCode}}' done; docker volume ls -q; \
             docker network ls -q --filter label=a=b | wc -l"
        )?,
        "said\n4\nvol\n1"
    );
    Ok(())
}

#[test]
fn pid_1_survives_heavy_load() -> Result<()> {
    let engine = sandbox("load")?;
    // Clients that connect and send nothing, or half a request line.
    let mut idle = Vec::new();
    for number in 0..500 {
        let mut stream = UnixStream::connect(engine.socket()).context("connecting")?;
        if number % 2 == 0 {
            stream.write_all(b"GET /info HT")?;
        }
        idle.push(stream);
    }
    assert!(engine.docker("ps")?.contains("CONTAINER ID"));
    drop(idle);
    ten_thousand_requests_at_once(&engine)?;
    let script = format!(
        "seq 10000 | xargs -P 64 -n 100 sh -c 'for i in \"$@\"; do \
         echo \"url = http://x/containers/json?all=1\"; done \
         | curl -s --unix-socket {} -K - -o /dev/null' _",
        engine.socket()
    );
    engine.run(&script)?;
    // Thousands of orphans of a container: PID 1 of the namespaces reaps what the container leaves.
    engine.docker(
        "run --rm --pid host busybox \
         sh -c 'i=0; while [ $i -lt 5000 ]; do (true &) ; i=$((i+1)); done'",
    )?;
    let zombies = engine.inside("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l")?;
    assert_eq!(zombies, "0");
    // No space where bundles are written: containers cannot start, and can again when there is
    // space.
    engine.inside("dd if=/dev/zero of=/run/full bs=1M 2>/dev/null; true")?;
    let refused = engine.run("docker run --rm busybox true 2>&1 || true")?;
    assert!(refused.contains("No space left"), "{refused}");
    engine.inside("rm /run/full")?;
    assert_eq!(engine.docker("run --rm busybox echo room")?, "room");
    Ok(())
}

/// Every client sends its request before the first response is read; each gets its own response.
fn ten_thousand_requests_at_once(engine: &Sandbox) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..10_000 {
        let mut stream = UnixStream::connect(engine.socket()).context("connecting")?;
        stream
            .write_all(b"GET /containers/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        clients.push(stream);
    }
    for mut stream in clients {
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    Ok(())
}
