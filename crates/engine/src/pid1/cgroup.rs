//! A container's cgroup as PID 1 uses it: small writes to the kernel's file system that never
//! block.

use crate::paths;
use crate::spec::Limits;
use std::fs;
use std::io::Result;
use std::path::Path;

/// Stops every process of a container where it is, or lets them go on.
pub fn freeze(id: &str, freeze: bool) -> Result<()> {
    fs::write(paths::cgroup(id).join("cgroup.freeze"), if freeze { "1" } else { "0" })
}

/// Did the kernel kill a process in it because memory ran out?
pub fn had_oom_kill(id: &str) -> bool {
    let text = fs::read_to_string(paths::cgroup(id).join("memory.events")).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count != "0")
}

/// Forgets an ended container at once if no process of it runs any more. False if there is
/// something left to end.
pub fn forget_empty(id: &str) -> bool {
    let cgroup = paths::cgroup(id);
    if let Err(error) = fs::remove_dir(&cgroup)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return false;
    }
    // Both are in memory, and small. What stays does no harm.
    let _ = fs::remove_dir_all(Path::new(paths::RUNTIME_STATE).join(id));
    let _ = fs::remove_dir_all(paths::bundle(id));
    true
}

/// Gives a container that runs other limits.
pub fn limit(id: &str, limits: &Limits) -> Result<()> {
    let cgroup = paths::cgroup(id);
    // Memory is raised before swap and lowered after it, else the kernel refuses one of the two.
    let max = |bytes: u64| if bytes == 0 { "max".to_owned() } else { bytes.to_string() };
    write(&cgroup, "memory.max", &max(limits.memory))?;
    let swap = match limits.memory_swap {
        0 | -1 => "max".to_owned(),
        both => both.unsigned_abs().saturating_sub(limits.memory).to_string(),
    };
    write(&cgroup, "memory.swap.max", &swap)?;
    write(&cgroup, "memory.low", &limits.memory_reservation.to_string())?;
    let period = if limits.cpu_period == 0 { 100_000 } else { limits.cpu_period };
    let quota = if limits.cpu_quota <= 0 { "max".to_owned() } else { limits.cpu_quota.to_string() };
    write(&cgroup, "cpu.max", &format!("{quota} {period}"))?;
    write(&cgroup, "cpu.weight", &weight(limits.cpu_shares).to_string())?;
    write(
        &cgroup,
        "pids.max",
        &if limits.pids <= 0 { "max".to_owned() } else { limits.pids.to_string() },
    )?;
    for (file, list) in [("cpuset.cpus", &limits.cpus), ("cpuset.mems", &limits.mems)] {
        if !list.is_empty() {
            write(&cgroup, file, list)?;
        }
    }
    Ok(())
}

/// A kernel without the controller has no such file: there was no limit before either.
fn write(cgroup: &Path, file: &str, value: &str) -> Result<()> {
    match fs::OpenOptions::new().write(true).open(cgroup.join(file)) {
        Ok(mut file) => std::io::Write::write_all(&mut file, value.as_bytes()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Docker's shares (2 to 262144) as a weight of cgroup v2 (1 to 10000). It is the formula that the
/// runtimes agreed on.
pub fn weight(shares: u64) -> u64 {
    match shares {
        0 => 100,
        shares => 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142,
    }
}
