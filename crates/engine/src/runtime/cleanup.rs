//! After a container: its processes, its cgroup, its runtime state, and on removal its files.

use crate::paths;
use crate::protocol::Report;
use anyhow::{Context, Result, bail};
use corral_machine::deadline;
use rustix::event::{PollFd, PollFlags};
use rustix::mount::{UnmountFlags, unmount};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// How long the kernel may take to end what was killed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Ends what is left of a container, unless its children are kept, and forgets it; with `remove`
/// also its files and its log.
pub(super) fn run(id: &str, keep_children: bool, remove: bool) -> Result<Report> {
    let cgroup = paths::cgroup(id);
    if keep_children {
        // Only an empty one can be removed.
        let _ = fs::remove_dir(&cgroup);
    } else if cgroup.exists() {
        kill_all(&cgroup)?;
        fs::remove_dir(&cgroup).with_context(|| format!("removing {}", cgroup.display()))?;
    }
    let _ = fs::remove_dir_all(Path::new(paths::RUNTIME_STATE).join(id));
    let _ = fs::remove_dir_all(paths::bundle(id));
    if remove {
        remove_files(id);
    }
    Ok(Report::Done)
}

/// Removes all that is kept of a container. What cannot be removed now is removed at the next boot.
pub fn remove_files(id: &str) {
    let _ = unmount(paths::rootfs(id), UnmountFlags::DETACH);
    let _ = fs::remove_dir_all(paths::overlay(id));
    let _ = fs::remove_dir_all(paths::container(id));
}

/// At boot: removes what is left of containers that are created again at each boot. Those that
/// clients made have a record.
pub fn sweep() {
    for base in [paths::container(""), paths::overlay("")] {
        let Ok(items) = fs::read_dir(base) else { continue };
        for item in items.flatten() {
            let id = item.file_name();
            if !paths::record(&id.to_string_lossy()).exists() {
                let _ = fs::remove_dir_all(item.path());
            }
        }
    }
}

/// Kills everything in a cgroup and waits until the kernel says that it is empty.
fn kill_all(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.kill"), "1")
        .context("killing the remaining processes of the container")?;
    let mut events = File::open(cgroup.join("cgroup.events"))?;
    let end = deadline::after(TIMEOUT);
    loop {
        let mut text = String::new();
        std::io::Seek::rewind(&mut events)?;
        events.read_to_string(&mut text)?;
        if text.contains("populated 0") {
            return Ok(());
        }
        if !deadline::poll(&mut [PollFd::new(&events, PollFlags::PRI)], end)? {
            bail!(
                "{} still has processes {} s after they were killed",
                cgroup.display(),
                TIMEOUT.as_secs()
            );
        }
    }
}
