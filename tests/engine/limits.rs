//! What runs out: descriptors, the disk. PID 1 stays, says what is wrong, and goes on when there is room again.

use super::sandbox;
use anyhow::Result;

#[test]
fn without_descriptors_pid_1_says_so_and_stays() -> Result<()> {
    let engine = sandbox("descriptors")?;
    engine.docker("run -d --name before busybox sleep 1000")?;
    // So few that another container's pipes do not fit; only the soft limit, so that it can be lifted again.
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
fn containers_may_open_as_much_as_the_machine_may() -> Result<()> {
    let engine = sandbox("open-files")?;
    let hard = engine.inside("ulimit -Hn")?;
    let limits = "run --rm busybox sh -c 'ulimit -n; ulimit -Hn; ulimit -c'";
    assert_eq!(engine.docker(limits)?, format!("{hard}\n{hard}\n0"));
    let own = "run --rm --ulimit nofile=100:200 --ulimit core=0:0 busybox sh -c 'ulimit -n; ulimit -Hn'";
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
            "head -c 6000000 /dev/urandom > {file} && tar -C {folder} -c {name}.bin | docker import - {name} >/dev/null"
        ))
    };
    // An image is there twice: as it came and unpacked. Two fit; with what a container stands on, the third is too much.
    import("first")?;
    engine.docker("create --name user first /x")?;
    import("second")?;
    import("third")?;
    import("fourth")?;
    import("fifth")?;
    engine.expect_docker("images --format '{{.Repository}}'", "fifth")?;
    engine.expect("[ $(df --output=pcent /var/lib/system-docker | tail -1 | tr -dc 0-9) -lt 90 ]")?;
    let left = engine.docker("images --format '{{.Repository}}'")?;
    assert!(left.contains("first"), "a container stands on it: {left}");
    assert!(!left.contains("second"), "it was used longest ago: {left}");
    Ok(())
}
