//! `cargo xtask bench engine`: our engine and its peers, one after the other on the same machine.
//! All use the same file system and the same program, without a network. First on this machine,
//! then in a guest.

use crate::{accel, binaries, erofs, image, paths, peers, progress, setup, sh, tools};
use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::Path;
use vmtest::folder;
use vmtest::sandbox::Sandbox;
use vmtest::{Image, Machine, Options as Vm, drive, shell};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs to take the median of
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Containers that are started at once
    #[arg(long, default_value_t = 100)]
    containers: usize,
    /// Only on this machine
    #[arg(long)]
    host: bool,
}

/// What is measured within the root of the peers. `$1`: runs, `$2`: containers, `$3`: our socket,
/// `$4`: dockerd's, which is started if it is not there. Each line is a name, then the numbers.
const SCRIPT: &str = r#"
set -eu
export PATH=/usr/bin:/usr/sbin HOME=/root
runs=$1 containers=$2 ours=$3 theirs=$4
if [ ! -S "$theirs" ]; then
    dockerd --bridge=none --iptables=false --ip6tables=false --data-root /work/docker \
        --exec-root /run/docker -p /run/dockerd.pid -H "unix://$theirs" >/work/dockerd.log 2>&1 &
    tries=0
    until docker -H "unix://$theirs" version >/dev/null 2>&1; do
        tries=$((tries + 1)) && [ $tries -lt 300 ] || { tail -5 /work/dockerd.log >&2; exit 1; }
        sleep 0.2
    done
    trap 'kill $(cat /run/dockerd.pid); wait' EXIT
fi
busybox tar -C /bundle/rootfs -cf /work/busybox.tar .
docker -H "unix://$theirs" import -q /work/busybox.tar busybox >/dev/null 2>&1 ||
    docker -H "unix://$theirs" import /work/busybox.tar busybox >/dev/null
docker -H "unix://$ours" import /work/busybox.tar busybox >/dev/null
model=$(docker -H "unix://$ours" run -d --network none busybox /bin/sleep 1000)
/engine-bench bundle "$(echo /run/corral/*/$model/config.json)" /bundle
docker -H "unix://$ours" rm -f "$model" >/dev/null
podman import -q /work/busybox.tar busybox >/dev/null
say() {
    what=$1 && shift
    numbers=$("$@") || { echo "$what: $*" >&2; exit 1; }
    echo "$what" $numbers
}
say life-ours /engine-bench lives "$ours" "$runs"
say life-dockerd /engine-bench lives "$theirs" "$runs"
say life-crun /engine-bench command "$runs" crun --root /run/crun run -b /bundle peer
say life-runc /engine-bench command "$runs" runc --root /run/runc run -b /bundle peer
say life-podman /engine-bench command "$runs" \
    podman run --rm --network none --cgroups disabled busybox /bin/true
say cli-ours /engine-bench command "$runs" \
    docker -H "unix://$ours" run --rm --network none busybox /bin/true
say cli-dockerd /engine-bench command "$runs" \
    docker -H "unix://$theirs" run --rm --network none busybox /bin/true
say burst-ours /engine-bench burst "$ours" "$containers" system-docker,ros-engine
say burst-dockerd /engine-bench burst "$theirs" "$containers" dockerd,containerd,containerd-shim
"#;

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::need_root("the engines that are measured need namespaces")?;
    setup::install()?;
    let ingredients = image::gather(&image::Options::default())?;
    image::write(&ingredients, &image::Options::default())?;
    tools::prepare()?;
    let root = peers::prepare()?;
    let bench = binaries::build_bench()?;
    fs::copy(bench, root.join("engine-bench")).context("copying engine-bench")?;
    fs::write(root.join("measure.sh"), SCRIPT)?;
    let _in_use = ingredients.building.done()?;
    let on_host = progress::step("measuring on this machine", || host(options, &root))?;
    print("this machine", options, &on_host);
    if options.host {
        return Ok(());
    }
    let in_guest = progress::step("measuring in a guest (minutes)", || guest(options, &root))?;
    print("a guest with two processors under emulation", options, &in_guest);
    Ok(())
}

/// In the sandbox of the engine's tests.
fn host(options: &Options, root: &Path) -> Result<String> {
    let mut build = sh::cargo();
    build.args(["build", "--quiet", "--package", "engine-tests", "--bin", "engine-sandbox"]);
    sh::run(&mut build)?;
    let program = paths::target().join("debug/engine-sandbox");
    let sandbox = Sandbox::start("bench", &program.to_string_lossy())?;
    let work = folder("engine-bench-work")?;
    let root = root.display();
    sandbox.inside(&format!(
        "set -e; echo 0 > /sys/fs/cgroup/init/cgroup.procs; mount --bind {root} {root}
         for name in proc sys dev; do mount --rbind /$name {root}/$name; done
         mount -t tmpfs run {root}/run; mount --bind {} {root}/work
         mkdir {root}/run/corral; mount --bind /run/corral {root}/run/corral
         touch {root}/run/ours.sock; mount --bind /run/system-docker.sock {root}/run/ours.sock
         exec unshare -m chroot {root} /usr/bin/bash /measure.sh {} {} \
         /run/ours.sock /run/theirs.sock",
        work.display(),
        options.runs,
        options.containers,
    ))
}

/// In a machine as its users have it: its own Docker is the peer. Both keep their data in memory.
fn guest(options: &Options, root: &Path) -> Result<String> {
    let folder = folder("engine-bench-guest")?;
    let disk = folder.join("peers.erofs");
    erofs::write_folder(root, peers::LABEL, &disk)?;
    let key = shell::make_key(&folder)?;
    let text = format!("#cloud-config\nssh_authorized_keys:\n  - {key}\n");
    let config_drive = Some(drive::make(&folder, drive::Kind::ConfigDriveIso, text.as_bytes())?);
    let accelerator = accel::choose(None, &Image::find()?)?;
    let vm = Vm {
        needs_qemu: true,
        config_drive,
        accelerator,
        memory: 4096,
        disks: vec![disk],
        ..Vm::default()
    };
    let mut machine = Machine::start(&folder, vm)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(&format!(
        "set -e; disk=$(sudo blkid -L {label})
         sudo mkdir -p /mnt/lower /mnt/upper /mnt/root && sudo mount -t erofs -o ro $disk /mnt/lower
         sudo mount -t tmpfs upper /mnt/upper && sudo mkdir /mnt/upper/u /mnt/upper/w
         sudo mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper/u,workdir=/mnt/upper/w \
         peers /mnt/root
         for name in proc sys dev run; do sudo mount --rbind /$name /mnt/root/$name; done
         sudo mount -t tmpfs work /mnt/root/work",
        label = peers::LABEL,
    ))?;
    machine.run(&format!(
        "sudo unshare -m chroot /mnt/root /usr/bin/bash /measure.sh {} {} \
         /run/system-docker.sock /run/docker.sock",
        options.runs, options.containers,
    ))
}

/// What is printed: a title, then the line and the column of the script's output.
const ROWS: [(&str, &str, usize, &str); 13] = [
    ("create+start+wait+remove, ours by its API", "life-ours", 0, "ms"),
    ("                          dockerd by its API", "life-dockerd", 0, "ms"),
    ("                          crun run", "life-crun", 0, "ms"),
    ("                          runc run", "life-runc", 0, "ms"),
    ("                          podman run --rm", "life-podman", 0, "ms"),
    ("docker run --rm,          ours", "cli-ours", 0, "ms"),
    ("                          dockerd", "cli-dockerd", 0, "ms"),
    ("all started at once,      ours", "burst-ours", 0, "ms"),
    ("                          dockerd", "burst-dockerd", 0, "ms"),
    ("memory for each,          ours", "burst-ours", 1, "KiB"),
    ("                          dockerd", "burst-dockerd", 1, "KiB"),
    ("lists of them per second, ours", "burst-ours", 2, "/s"),
    ("                          dockerd", "burst-dockerd", 2, "/s"),
];

fn print(place: &str, options: &Options, output: &str) {
    println!("\non {place}: medians of {}, bursts of {}", options.runs, options.containers);
    for (title, line, column, unit) in ROWS {
        let found = output.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
        let value = found.and_then(|numbers| numbers.split(' ').nth(column)).unwrap_or("-");
        println!("{title:<46} {value:>9} {unit}");
    }
}
