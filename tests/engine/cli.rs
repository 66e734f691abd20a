//! Containers by the docker CLI.

use super::sandbox;
use anyhow::Result;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use vmtest::sandbox::Sandbox;

#[test]
fn containers_are_as_dockers() -> Result<()> {
    let engine = sandbox("cli")?;
    streams_and_exit_codes(&engine)?;
    a_life(&engine)?;
    files_go_in_and_out(&engine)?;
    isolation(&engine)?;
    volumes(&engine)?;
    lists_and_events(&engine)
}

fn streams_and_exit_codes(engine: &Sandbox) -> Result<()> {
    let split = engine.run(
        "docker run --name one busybox sh -c 'echo out; echo err >&2; exit 3' 2>/dev/null; echo $?",
    )?;
    assert_eq!(split, "out\n3");
    assert_eq!(engine.run("docker logs one 2>&1 >/dev/null")?, "err");
    assert_eq!(engine.run("echo through | docker run -i --rm busybox cat")?, "through");
    let large = engine.run(
        "head -c 3000000 /dev/zero | tr '\\0' x | docker run -i --rm busybox md5sum; \
         head -c 3000000 /dev/zero | tr '\\0' x | md5sum",
    )?;
    let sums: Vec<&str> = large.lines().collect();
    assert_eq!(sums[0], sums[1], "all that was typed arrived");
    assert_eq!(engine.run("docker run --rm busybox sh -c 'seq 200000' | tail -n1")?, "200000");
    for (command, code) in [("nosuch", "127"), ("/etc/passwd", "126"), ("sh -c 'exit 42'", "42")] {
        assert_eq!(
            engine.run(&format!("docker run --rm busybox {command} 2>/dev/null; echo $?"))?,
            code,
            "{command}"
        );
    }
    assert_eq!(
        engine.run(
            "docker run -d --name e busybox sleep 99 >/dev/null || \
             docker run -d --name ee busybox sleep 99 >/dev/null; \
             docker exec ee nosuch 2>/dev/null; echo $?; docker rm -f ee"
        )?,
        "127\nee"
    );
    terminals(engine)?;
    engine.docker("rm one").map(drop)
}

fn terminals(engine: &Sandbox) -> Result<()> {
    // A client that attached before the start must see the end of the terminal's stream, and of no
    // other.
    let shown = engine.run("for n in $(seq 20); do docker run -t --rm busybox tty; done")?;
    assert_eq!(
        shown.lines().filter(|line| line.trim_end() == "/dev/pts/0").count(),
        20,
        "{shown:?}"
    );
    // `script` gives the CLI a terminal. It loses what its child prints just before it exits, hence
    // the echo.
    let shown = engine
        .run("script -qec 'docker run -it --rm busybox tty; echo $?' /dev/null </dev/null")?;
    assert!(shown.contains("/dev/pts/0") && shown.trim_end().ends_with('0'), "{shown:?}");
    // A container that cannot be started has no terminal either.
    engine.docker("create -t --name never busybox nosuch")?;
    let mut client = UnixStream::connect(engine.socket())?;
    client.write_all(
        b"POST /containers/never/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\
          Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    )?;
    let mut responses = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(responses.read_line(&mut head)?, 0, "{head:?}");
    }
    assert!(engine.docker("start never").is_err(), "it cannot be started");
    responses.get_ref().set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut rest = Vec::new();
    responses.read_to_end(&mut rest)?;
    engine.docker("rm never").map(drop)
}

fn a_life(engine: &Sandbox) -> Result<()> {
    engine.docker("run -d --name life --label a=b --restart always busybox sleep 1000")?;
    assert_eq!(
        engine.docker("exec -u ann -w /tmp -e X=1 life sh -c 'id -un; pwd; echo $X'")?,
        "ann\n/tmp\n1"
    );
    assert!(engine.docker("top life")?.contains("sleep 1000"));
    let columns = engine.docker("top life -o pid,comm")?;
    assert!(
        columns.starts_with("PID") && columns.contains("COMMAND") && columns.contains("sleep"),
        "{columns}"
    );
    assert!(engine.docker("stats --no-stream life")?.contains("life"));
    assert_eq!(
        engine.run("docker pause life; docker ps --format '{{.State}}'; docker unpause life")?,
        "life\npaused\nlife"
    );
    engine.docker("rename life other")?;
    engine.docker("update --restart unless-stopped other")?;
    assert_eq!(
        engine.docker("inspect -f '{{.Name}} {{.HostConfig.RestartPolicy.Name}}' other")?,
        "/other unless-stopped"
    );
    // The container exits by itself, and its restart policy starts it again.
    engine.docker("exec other kill -9 -1 || true")?;
    engine.expect_docker("ps --format '{{.Names}} {{.State}}'", "other running")?;
    engine.docker("restart -t 1 other")?;
    assert_eq!(
        engine.run(
            "docker stop -t 1 other; \
             docker inspect -f '{{.State.ExitCode}} {{.State.Running}}' other"
        )?,
        "other\n137 false"
    );
    let refused =
        engine.run("docker start other; docker rm other 2>&1 || true; docker rm -f other")?;
    assert!(refused.contains("container is running"), "{refused}");
    let waiting = engine.run(
        "docker run -d --name w busybox sleep 1 2>&1 || \
         docker run -d --name ww busybox sh -c 'sleep 1; exit 5' >/dev/null; \
         docker wait ww; docker rm ww",
    )?;
    assert!(waiting.contains("\n5\nww"), "{waiting}");
    Ok(())
}

fn files_go_in_and_out(engine: &Sandbox) -> Result<()> {
    engine.docker("run -d --name files busybox sleep 1000")?;
    let folder = engine.folder().join("copies");
    std::fs::create_dir_all(folder.join("in/sub"))?;
    std::fs::write(folder.join("in/sub/text"), "hello")?;
    // The engine reads the padding after the end of an archive too. Otherwise the client may lose
    // the response.
    let padded = folder.join("padded.tar").display().to_string();
    engine.run(&format!(
        "(tar -C /etc -c passwd; head -c 600000 /dev/zero) > {padded}
         for n in $(seq 20); do docker cp - files:/srv < {padded} || exit 1; done",
    ))?;
    engine.docker(&format!("cp {}/in files:/srv", folder.display()))?;
    assert_eq!(engine.docker("exec files cat /srv/in/sub/text")?, "hello");
    // A link in the container that leads out of it must not lead to a file of the host.
    engine.docker("exec files ln -s / /srv/out")?;
    engine.docker(&format!("cp {}/in/sub/text files:/srv/out/tmp/placed", folder.display()))?;
    assert_eq!(engine.docker("exec files cat /tmp/placed")?, "hello");
    engine.docker(&format!("cp files:/srv/in {}/back", folder.display()))?;
    assert_eq!(std::fs::read_to_string(folder.join("back/sub/text"))?, "hello");
    let changes = engine.docker("diff files")?;
    assert!(changes.contains("A /srv/in/sub/text") && changes.contains("C /tmp"), "{changes}");
    assert!(engine.run("docker export files | tar -t")?.contains("srv/in/sub/text"));
    engine.docker("rm -f files").map(drop)
}

fn isolation(engine: &Sandbox) -> Result<()> {
    let id = engine.docker("run -d -e PASSWORD=secret busybox sleep 99")?;
    let bundles = "/run/corral/bundles";
    let modes = format!(
        "stat -c %a {bundles} {bundles}/{id} {bundles}/{id}/config.json /run/corral/runtime"
    );
    assert_eq!(engine.inside(&modes)?, "700\n700\n600\n700", "the environment is for root only");
    assert_eq!(engine.docker(&format!("exec -u ann {id} sh -c 'echo $PASSWORD'"))?, "secret");
    engine.docker(&format!("rm -f {id}"))?;
    let status = |options: &str| {
        engine.docker(&format!(
            "run --rm {options} busybox \
             sh -c 'grep -E \"CapEff|CapBnd|Seccomp:|NoNewPrivs\" /proc/self/status'"
        ))
    };
    let plain = status("")?;
    assert!(
        plain.contains("CapEff:\t00000000a80425fb") && plain.contains("Seccomp:\t2"),
        "{plain}"
    );
    let user = status("-u 1000 --security-opt no-new-privileges")?;
    assert!(
        user.contains("CapEff:\t0000000000000000") && user.contains("NoNewPrivs:\t1"),
        "{user}"
    );
    assert!(status("--cap-drop ALL --cap-add chown")?.contains("CapEff:\t0000000000000001"));
    let hidden = engine.run(
        "docker run --rm busybox sh -c 'cat /proc/kcore | head -c1 | wc -c; \
         echo x > /proc/sys/kernel/hostname' 2>&1; true",
    )?;
    assert!(hidden.contains("Read-only file system"), "{hidden}");
    let profile = engine.folder().join("no-mkdir.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#,
    )?;
    let refused = engine.run(&format!(
        "docker run --rm --security-opt seccomp={} busybox mkdir /x 2>&1 || true",
        profile.display()
    ))?;
    assert!(refused.contains("Operation not permitted"), "{refused}");
    let only = engine.run(
        "docker run --rm --read-only --tmpfs /tmp busybox \
         sh -c 'touch /x; touch /tmp/y && echo written' 2>&1",
    )?;
    assert!(only.contains("Read-only file system") && only.contains("written"), "{only}");
    let init = engine.docker("run --rm --init busybox sh -c 'cat /proc/1/comm'")?;
    assert_eq!(init, "docker-init");
    let limited = engine.docker(
        "run --rm --ulimit nofile=77:88 --shm-size 1m --hostname h --add-host x:1.2.3.4 busybox \
         sh -c 'ulimit -n; hostname; grep x$ /etc/hosts; df -k /dev/shm | tail -n1'",
    )?;
    assert!(limited.contains("77\nh\n1.2.3.4\tx") && limited.contains("1024"), "{limited}");
    Ok(())
}

fn volumes(engine: &Sandbox) -> Result<()> {
    engine.docker("volume create --label keep=1 data")?;
    engine.docker("run --rm -v data:/srv busybox sh -c 'echo kept > /srv/x'")?;
    assert_eq!(engine.docker("run --rm -v data:/srv:ro busybox cat /srv/x")?, "kept");
    // An empty volume begins with what the image has there.
    assert!(engine.docker("run --rm -v fresh:/etc busybox cat /etc/passwd")?.contains("ann"));
    assert!(
        engine
            .docker("run --rm -v data:/srv:ro busybox touch /srv/y 2>&1 || true")?
            .contains("Read-only")
    );
    engine.docker("create --name user -v data:/srv busybox true")?;
    assert!(engine.run("docker volume rm data 2>&1 || true")?.contains("in use"));
    engine.docker("rm user && docker volume rm data fresh").map(drop)
}

fn lists_and_events(engine: &Sandbox) -> Result<()> {
    let since = engine.run("date +%s.%N")?;
    engine.docker("run -d --name listed --label job=x -p 8080:80 busybox sleep 1000")?;
    for (filter, expected) in [
        ("label=job=x", "listed"),
        ("label=job=y", ""),
        ("status=exited", ""),
        ("name=list", "listed"),
        ("publish=8080", "listed"),
        ("ancestor=busybox", "listed"),
        ("network=bridge", "listed"),
    ] {
        assert_eq!(
            engine.docker(&format!("ps -a --filter {filter} --format '{{{{.Names}}}}'"))?,
            expected,
            "{filter}"
        );
    }
    assert!(engine.run("docker ps --filter nonsense=1 2>&1 || true")?.contains("invalid filter"));
    engine.docker("rm -f listed")?;
    let events = engine.docker(&format!(
        "events --since {since} --until $(date +%s.%N) --filter container=listed \
         --format '{{{{.Action}}}}'"
    ))?;
    assert_eq!(events.lines().collect::<Vec<_>>(), ["create", "start", "die", "destroy"]);
    let followed = engine.run(
        "docker run -d --name counting busybox \
         sh -c 'for i in $(seq 2000); do echo $i; done; sleep 0.2; echo last' >/dev/null; \
         docker logs -f counting | md5sum; (seq 2000; echo last) | md5sum; \
         docker logs --tail 2 counting; docker rm counting",
    )?;
    let lines: Vec<&str> = followed.lines().collect();
    assert_eq!(lines[0], lines[1], "a follower gets every line once");
    assert_eq!(lines[2..], ["2000", "last", "counting"]);
    let swarm = engine.run("docker swarm init 2>&1 || true")?;
    assert!(swarm.contains("not supported"), "{swarm}");
    let old = engine.run("DOCKER_API_VERSION=1.23 docker ps 2>&1 || true")?;
    assert!(old.contains("too old"), "{old}");
    a_body_after_the_response(engine)
}

/// Docker's CLI sends a body after its head. The connection stays open where the head is enough for
/// a response.
fn a_body_after_the_response(engine: &Sandbox) -> Result<()> {
    let mut client = UnixStream::connect(engine.socket())?;
    let mut responses = BufReader::new(client.try_clone()?);
    client.write_all(
        b"POST /swarm/init HTTP/1.1\r\nHost: docker\r\nContent-Length: 600000\r\n\r\n",
    )?;
    let mut status = String::new();
    responses.read_line(&mut status)?;
    assert!(status.contains("501"), "{status}");
    client.write_all(&[b' '; 600_000])?;
    client.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut rest = String::new();
    responses.read_to_string(&mut rest)?;
    assert!(rest.contains("HTTP/1.1 200 OK"), "{rest}");
    Ok(())
}
