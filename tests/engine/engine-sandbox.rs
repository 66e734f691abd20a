//! Starts the system engine alone on this build machine, as PID 1 of its own namespaces:
//! `engine-sandbox ROS FOLDER CGROUP`. FOLDER/store is its state disk; all its other files are in
//! memory and are lost with it. CGROUP is an empty cgroup for it; the caller removes it.
//!
//! The engine's runtime raises a limit before it loads device rules (without effect on any kernel
//! since 5.11). A build machine may not allow any process to raise limits. Here that call does
//! nothing and succeeds.

use anyhow::{Context, Result, bail};
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// RLIMIT_MEMLOCK of setrlimit(2).
const MEMLOCK: u64 = 8;

/// What runs in the namespaces before the engine takes over. `$1` is ros, `$2` the folder.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 0 > /sys/fs/cgroup/init/cgroup.procs
mount -t tmpfs run /run
mount -t tmpfs log /var/log
mount -t tmpfs share /usr/share
mkdir -p /usr/share/ros/layers/docker/usr/bin /var/lib/system-docker "$2/store"
cp "$2/seccomp.json" /usr/share/ros/
cp "$2/tini-static" /usr/share/ros/layers/docker/usr/bin/
mount --bind "$2/store" /var/lib/system-docker
mount --make-shared /
ip link set lo up
# As the kernel starts PID 1 of a machine.
ulimit -Sn 1024
exec -a engine-alone "$1"
"#;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ros, folder, cgroup] = arguments.as_slice() else {
        bail!("usage: engine-sandbox ROS FOLDER CGROUP")
    };
    fs::create_dir_all(format!("{cgroup}/init"))?;
    fs::write(format!("{cgroup}/cgroup.procs"), "0")
        .with_context(|| format!("entering {cgroup}"))?;
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    filter.set_ctl_nnp(false)?;
    for (name, argument) in [("prlimit64", 1), ("setrlimit", 0)] {
        let is_memlock = ScmpArgCompare::new(argument, ScmpCompareOp::Equal, MEMLOCK);
        filter.add_rule_conditional(
            ScmpAction::Errno(0),
            ScmpSyscall::from_name(name)?,
            &[is_memlock],
        )?;
    }
    filter.load().context("loading the filter")?;
    let error = Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--cgroup",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            SCRIPT,
        ])
        .args(["sandbox", ros, folder])
        .exec();
    Err(error).context("starting unshare")
}
