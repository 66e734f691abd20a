//! `ros ntp`, in the ntp container: becomes chronyd. Beside it, `ros ntp-sources` has chronyd read
//! the time servers of DHCP again when the network container writes others. chronyd takes commands
//! on a socket of its own container only.

use anyhow::{Context, Result};
use corral_machine::{inotify, program};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `CARD.sources`: written by dhcpcd's hook, read by chronyd (`sourcedir`).
const SOURCES: &str = "/run/corral/chrony";
/// chronyd's socket is there when chronyd has read its configuration.
const SOCKET: &str = "/run/chrony/chronyd.sock";
const START: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Result<()> {
    // ntp-sources watches it from its first moment. chronyd refuses one that others may write to.
    let folder = Path::new(SOCKET).parent().unwrap_or(Path::new(SOCKET));
    let made = DirBuilder::new().recursive(true).mode(0o750).create(folder);
    made.with_context(|| format!("making {}", folder.display()))?;
    Command::new("/usr/bin/ros")
        .arg("ntp-sources")
        .stdin(Stdio::null())
        .spawn()
        .context("starting ntp-sources")?;
    Err(Command::new("/usr/sbin/chronyd").args(["-d", "-u", "root"]).exec())
        .context("starting chronyd")
}

/// Never ends but by an error.
pub(crate) fn follow() -> Result<()> {
    let (folder, socket) = (Path::new(SOURCES), Path::new(SOCKET));
    let deadline = Instant::now() + START;
    inotify::wait_for(socket.parent().unwrap_or(socket), deadline, || socket.exists())?;
    // What was written while chronyd read its configuration may have been missed.
    let mut known = None;
    loop {
        inotify::wait_for(folder, None, || known.as_ref() != Some(&read(folder)))?;
        known = Some(read(folder));
        let mut command = Command::new("/usr/bin/chronyc");
        if let Err(error) = program::run(command.args(["reload", "sources"])) {
            println!("the time servers of DHCP: {error:#}");
        }
    }
}

/// The files of sources, and what is in them.
fn read(folder: &Path) -> BTreeMap<PathBuf, String> {
    let items = fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path());
    let files =
        items.filter(|path| path.extension().is_some_and(|extension| extension == "sources"));
    files.map(|path| (path.clone(), fs::read_to_string(&path).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_files_of_sources_are_read() {
        let folder = std::env::temp_dir().join(format!("corral-ntp-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("eth0.sources"), "server 10.0.0.1 iburst\n").unwrap();
        fs::write(folder.join("eth1.new"), "server").unwrap();
        let found = read(&folder);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&folder.join("eth0.sources")], "server 10.0.0.1 iburst\n");
        assert!(read(&folder.join("none")).is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
