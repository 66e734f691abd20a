//! PID 1's side of a creation helper.

use crate::protocol::{HelperRequest, Report};
use crate::sys::packet::{self, Received};
use rustix::io::{FdFlags, fcntl_setfd};
use std::ffi::OsStr;
use std::io::Result;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The name under which PID 1's own binary acts as a helper.
pub const HELPER_NAME: &str = "corral-helper";

/// The standard streams of what a helper starts. None: /dev/null.
#[derive(Debug, Default)]
pub struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A helper at work.
#[derive(Debug)]
pub struct Helper {
    pub pid: i32,
    socket: OwnedFd,
}

impl Helper {
    /// Starts a helper with its request.
    pub fn start(request: &HelperRequest, streams: Streams) -> Result<Helper> {
        let (ours, theirs) = packet::pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        packet::send(&ours, request, &[])?;
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let stdio = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
        let child = Command::new("/proc/self/exe")
            .arg0(HELPER_NAME)
            .arg(OsStr::new(&theirs.as_raw_fd().to_string()))
            .env_clear()
            .env("PATH", "/usr/bin:/usr/sbin")
            .stdin(stdio(streams.stdin))
            .stdout(stdio(streams.stdout))
            .stderr(stdio(streams.stderr))
            .spawn()?;
        Ok(Helper { pid: child.id().cast_signed(), socket: ours })
    }

    /// A helper that another PID 1 started.
    pub fn adopt(pid: i32, socket: OwnedFd) -> Helper {
        Helper { pid, socket }
    }

    /// The next report, if one is there.
    pub fn report(&self) -> Received<Report> {
        packet::receive(&self.socket).unwrap_or(Received::Closed)
    }

    /// Sends the helper the request to go on.
    pub fn go(&self) -> Result<()> {
        packet::send(&self.socket, &HelperRequest::Go, &[])
    }
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
