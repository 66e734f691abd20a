//! The system engine on a real machine. These tests need what the engine's own tests
//! (`tests/engine`) cannot have on a build machine: cgroup limits, device rules, and the state
//! after a boot.

use super::STATE;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;
use vmtest::docker_py;
use vmtest::folder;
use vmtest::report::is_left_out;
use vmtest::{Image, Machine, Options, drive};

/// How long they may take under software emulation on a busy host.
const TESTS_OF_DOCKER_PY: Duration = Duration::from_secs(15 * 60);

#[test]
fn containers_of_the_system_engine_are_as_dockers() -> Result<()> {
    let folder = folder("system-engine")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let options = Options { append: STATE.to_owned(), disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    // A bug in PID 1 and a container without memory are part of this story.
    machine.expect_alarms();
    machine.expect_login()?;
    // An image of one static program, by import: nothing is pulled.
    machine.run(
        "tar -C / -cf /tmp/i.tar bin/busybox usr/bin/busybox && \
         sudo system-docker import -c 'CMD [\"/bin/busybox\",\"sh\"]' /tmp/i.tar tiny",
    )?;
    the_version_has_the_commit(&machine)?;
    mounts_reach_the_console(&machine)?;
    limits_hold(&machine)?;
    devices_are_closed(&machine)?;
    ports_are_published(&machine)?;
    pid_1_is_replaced(&machine)?;
    the_log_of_the_daemon_is_bounded(&mut machine)?;
    without_processes_pid_1_waits(&mut machine)?;
    machine.run(
        "sudo system-docker run -d --name kept --restart always -v data:/data tiny /bin/busybox \
         sh -c 'echo $(date +%s) >> /data/starts; exec /bin/busybox sleep 100000'",
    )?;
    machine.run("sudo system-docker create --name waiting tiny /bin/busybox true")?;
    let first_boot = machine.run("cat /proc/sys/kernel/random/boot_id")?;
    // The connection is lost with the machine: the result of ssh means nothing.
    let _ = machine.login.run("sudo reboot");
    machine.expect_next_boot(&first_boot)?;
    machine.expect("sudo system-docker ps --format '{{.Names}}' | grep -qx kept")?;
    let shown = machine.run("sudo system-docker ps -a --format '{{.Names}} {{.State}}' | sort")?;
    assert!(shown.contains("kept running") && shown.contains("waiting created"), "{shown}");
    let starts = machine.run("sudo system-docker exec kept /bin/busybox cat /data/starts")?;
    assert_eq!(starts.lines().count(), 2, "{starts}");
    Ok(())
}

/// An image that was built without git has none.
fn the_version_has_the_commit(machine: &Machine) -> Result<()> {
    let reported = machine.run("sudo system-docker version --format '{{.Server.GitCommit}}'")?;
    let commit = machine.run(". /etc/os-release && echo ${CORRAL_COMMIT:-unknown}")?;
    assert_eq!(reported, commit);
    Ok(())
}

/// What a container mounts in a shared folder.
fn mounts_reach_the_console(machine: &Machine) -> Result<()> {
    machine.run(
        "sudo system-docker run --rm --privileged -v /mnt:/mnt:shared tiny /bin/busybox sh -c \
         '/bin/busybox mkdir -p /mnt/s && /bin/busybox mount -t tmpfs none /mnt/s'",
    )?;
    machine.run("grep ' /mnt/s tmpfs' /proc/mounts && sudo umount /mnt/s").map(drop)
}

/// docker-py runs in the machine, as root. Through ssh its tests would meet what ssh does to the
/// streams: docker-py loses what comes together with the head of a response.
#[test]
fn the_tests_of_docker_py_pass_on_a_booted_machine() -> Result<()> {
    if is_left_out("docker_py") {
        return Ok(());
    }
    let folder = folder("docker-py")?;
    let machine = start_with_python(&folder)?;
    // The list is for an engine that cannot reach Docker Hub.
    machine.run("sudo ip route add unreachable default metric 1")?;
    let running = "sudo system-docker ps --format '{{.Names}}'";
    let services = machine.run(running)?;
    machine.run(&format!(
        "docker() {{ sudo system-docker \"$@\"; }}; \
         docker import ~/python/busybox.tar busybox:latest && {}",
        docker_py::ALPINE
    ))?;
    let script = format!("sudo sh -c '{}'", docker_py::script(Path::new("/home/rancher/python")));
    let results = machine.login.run_within(TESTS_OF_DOCKER_PY, &script)?;
    println!("{}", machine.run("cat ~/python/log")?);
    let mut kinds = vec!["varies-on-machine"];
    if machine.run("nproc")? == "1" {
        kinds.push("failed-with-one-processor");
    }
    docker_py::compare(&results, &kinds)?;
    // Tests that prune and list leave the machine's own containers alone.
    let left = machine.run(running)?;
    println!("running afterwards:\n{left}");
    super::says_all(&left, &services.lines().collect::<Vec<_>>());
    machine.check_alarms()
}

/// Its third disk is the archive with Python, the suite and the image `busybox`.
fn start_with_python(folder: &Path) -> Result<Machine> {
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let options = Options {
        append: STATE.to_owned(),
        disks: vec![disk],
        sticks: vec![docker_py::pack(&Image::find()?, folder)?],
        ..Options::default()
    };
    let mut machine = super::with_config(folder, "", options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run("mkdir ~/python && sudo tar -C ~/python -xf /dev/vdc")?;
    Ok(machine)
}

fn limits_hold(machine: &Machine) -> Result<()> {
    let limits = machine.run(
        "sudo system-docker run --rm -m 64m --pids-limit 50 --cpus 0.5 tiny /bin/busybox sh -c \
         'cd /sys/fs/cgroup && /bin/busybox cat memory.max pids.max cpu.max'",
    )?;
    assert_eq!(limits, "67108864\n50\n50000 100000");
    machine.run(
        "sudo system-docker run -d --name greedy -m 16m tiny /bin/busybox \
         sh -c 'exec /bin/busybox dd if=/dev/zero of=/dev/null bs=64M'",
    )?;
    machine.run("sudo system-docker wait greedy")?;
    let state = machine.run(
        "sudo system-docker inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' greedy; \
         sudo system-docker rm greedy >/dev/null",
    )?;
    assert_eq!(state, "true 137");
    let limit = machine.run(
        "sudo system-docker run -d --name upd tiny /bin/busybox sleep 1000 >/dev/null; \
         sudo system-docker update -m 32m --memory-swap 64m upd >/dev/null; \
         sudo system-docker exec upd /bin/busybox cat /sys/fs/cgroup/memory.max; \
         sudo system-docker rm -f upd >/dev/null",
    )?;
    assert_eq!(limit, "33554432");
    Ok(())
}

/// A device node that a container makes cannot be opened, and one that the machine lacks is an
/// error; the default seccomp profile is active.
fn devices_are_closed(machine: &Machine) -> Result<()> {
    let shown = machine.run(
        "sudo system-docker run --rm tiny /bin/busybox sh -c \
         '/bin/busybox mknod /t c 4 64 && /bin/busybox head -c1 /t 2>&1; \
          /bin/busybox grep Seccomp: /proc/self/status; \
          /bin/busybox unshare -U /bin/busybox true 2>&1' || true",
    )?;
    assert!(shown.contains("Operation not permitted") && shown.contains("Seccomp:\t2"), "{shown}");
    let said = machine
        .run("! sudo system-docker run --rm --device /dev/ttyUSB9 tiny /bin/busybox true 2>&1")?;
    assert!(said.contains("device /dev/ttyUSB9: this machine has none"), "{said}");
    Ok(())
}

fn ports_are_published(machine: &Machine) -> Result<()> {
    machine.run(
        "sudo system-docker run -d --name web -p 8099:80 tiny /bin/busybox \
         sh -c '/bin/busybox mkdir /w; echo hello > /w/x; exec /bin/busybox httpd -f -h /w'",
    )?;
    let address =
        machine.run("ip -4 -o addr show dev eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'")?;
    assert_eq!(machine.run(&format!("wget -T 10 -qO- http://{address}:8099/x"))?, "hello");
    // The user's Docker and the published ports do not disturb each other.
    assert_eq!(machine.run("wget -T 10 -qO- http://172.18.42.1:8099/x")?, "hello");
    machine.run("sudo system-docker rm -f web")?;
    Ok(())
}

fn pid_1_is_replaced(machine: &Machine) -> Result<()> {
    let before = machine.run("sudo system-docker ps -q --no-trunc | sort")?;
    machine.run("sudo ros os reexec")?;
    if Image::find()?.has_hooks()? {
        machine.run("sudo ros os panic")?;
    } else {
        println!("the step with a bug in PID 1 is left out: this image has none on request");
    }
    machine.run("sudo ros os reexec")?;
    assert_eq!(
        machine.run("sudo system-docker ps -q --no-trunc | sort")?,
        before,
        "no container was lost or recreated"
    );
    machine.run("sudo system-docker restart -t 1 ntp")?;
    Ok(())
}

/// The daemon checks at its start, and each minute.
fn the_log_of_the_daemon_is_bounded(machine: &mut Machine) -> Result<()> {
    let log = "/var/log/system-docker.log";
    machine.run(&format!(
        "head -c 11000000 /dev/zero | sudo tee -a {log} >/dev/null; sudo kill $(pidof ros-engine)"
    ))?;
    machine.expect(&format!("[ $(stat -c %s {log}.1) -ge 11000000 ]"))?;
    machine.run(&format!("[ $(stat -c %s {log}) -lt 1000000 ]")).map(drop)
}

/// The kernel creates no more processes while a container exits that is to be restarted. Nothing in
/// the script forks.
fn without_processes_pid_1_waits(machine: &mut Machine) -> Result<()> {
    machine.run(
        "cat > /tmp/narrow <<'END'
limit=/proc/sys/kernel/threads-max
exec 3<>/tmp/no-writer
echo 20 > $limit
kill -9 $1
read -t 3 nothing <&3
echo $2 > $limit
END
         mkfifo /tmp/no-writer
         sudo sh /tmp/narrow $(sudo system-docker inspect -f '{{.State.Pid}}' ntp) \
           $(cat /proc/sys/kernel/threads-max)",
    )?;
    machine.expect_console("ntp: starting a helper: ")?;
    machine.expect("[ \"$(sudo system-docker inspect -f '{{.State.Status}}' ntp)\" = running ]")
}
