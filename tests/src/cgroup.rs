//! The cgroup of an engine that runs in a sandbox, or of a story: `corral-test-PID-N`, with the id
//! of the process that made it. It is removed with all groups below it. What killed processes left
//! behind is removed when the next one is made.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PREFIX: &str = "corral-test-";
/// A hybrid hierarchy has cgroup v2 in a folder of its own.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Empty at the start.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// It needs root, and cgroup v2.
    pub fn make() -> Result<Cgroup> {
        let hierarchy =
            HIERARCHIES.map(Path::new).into_iter().find(|path| path.join("cgroup.procs").exists());
        let hierarchy = hierarchy.context("this machine has no cgroup hierarchy of version 2")?;
        sweep(hierarchy);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = hierarchy.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path)
            .with_context(|| format!("making {} (it needs root)", path.display()))?;
        Ok(Cgroup(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Moves a process into it. The processes that this one starts from now on are in it too.
    pub fn add(&self, process: u32) -> Result<()> {
        fs::write(self.0.join("cgroup.procs"), process.to_string())
            .with_context(|| format!("moving a process into {}", self.0.display()))
    }

    /// The processor time of all processes that are or were in it.
    pub fn processor_time(&self) -> Result<Duration> {
        let file = self.0.join("cpu.stat");
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let microseconds = microseconds.context("no usage_usec in cpu.stat")?.parse()?;
        Ok(Duration::from_micros(microseconds))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes the groups of processes that have exited.
fn sweep(hierarchy: &Path) {
    for item in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = item.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let is_left = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        let events = fs::read_to_string(item.path().join("cgroup.events")).unwrap_or_default();
        if is_left && events.contains("populated 0") {
            remove(&item.path());
        }
    }
}

/// Removes a group, those below it first. One that still has processes stays, because the kernel
/// refuses.
fn remove(group: &Path) {
    for item in fs::read_dir(group).into_iter().flatten().flatten() {
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&item.path());
        }
    }
    let _ = fs::remove_dir(group);
}
