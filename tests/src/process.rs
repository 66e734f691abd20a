//! Programs that machines and stories start on the host, and waiting for them. No program outlives
//! the story that started it.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Servers and tests on loopback are not behind the developer's proxy.
const PROXIES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// If it is set, machines that still run at the end of a story keep running.
pub const KEEP_VARIABLE: &str = "CORRAL_KEEP";

/// Do machines keep running?
pub(crate) fn is_kept() -> bool {
    std::env::var_os(KEEP_VARIABLE).is_some()
}

/// A program that is killed when the thread that started it exits for any reason (prctl(2),
/// PR_SET_PDEATHSIG). Its messages are in English, and it uses no proxy.
pub fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).env("LC_ALL", "C");
    for proxy in PROXIES {
        command.env_remove(proxy);
    }
    command
}

/// A program that is part of a machine: tied, unless machines are kept.
pub(crate) fn tied_unless_kept(program: &Path) -> Command {
    if is_kept() { Command::new(program) } else { tied(program) }
}

/// A program that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct KillOnDrop(pub(crate) Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a child exits, or until the timeout. Returns its status; none if it still runs.
pub fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    // Once its status was read, its process id may belong to another process.
    if let Some(status) = child.try_wait().context("asking for the end of a process")? {
        return Ok(Some(status));
    }
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty());
    is_readable(process.context("opening a process")?, timeout)?;
    child.try_wait().context("asking for the end of a process")
}

/// The time between two looks at what reports no change: a port of another program, a machine's
/// console.
pub(crate) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// Waits until a descriptor is readable or its other end is closed; false at the timeout. A pidfd
/// is readable once its process has exited (pidfd_open(2)).
pub(crate) fn is_readable(descriptor: impl AsFd, timeout: Duration) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left =
            Timespec::try_from(left).context("a length of time that is too long for poll(2)")?;
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for a descriptor"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_readable, wait};
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn a_process_is_waited_for_until_its_deadline() {
        let mut hangs = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(wait(&mut hangs, Duration::from_millis(1)).unwrap(), None);
        drop(hangs.stdin.take());
        let status = wait(&mut hangs, Duration::from_secs(60)).unwrap();
        assert!(status.is_some_and(|status| status.success()));
        assert_eq!(wait(&mut hangs, Duration::ZERO).unwrap(), status, "it is known from now on");
    }

    #[test]
    fn a_descriptor_is_readable_by_bytes_and_by_its_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(!is_readable(&ours, Duration::from_millis(1)).unwrap());
        theirs.write_all(b"x").unwrap();
        assert!(is_readable(&ours, Duration::from_secs(60)).unwrap());
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(is_readable(&ours, Duration::from_secs(60)).unwrap());
    }
}
