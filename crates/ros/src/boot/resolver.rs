//! Running the resolver (`crate::resolve`) as a child: in a boot step with a deadline, or watched by the loop.

use super::say;
use crate::resolve::{self, Resolved};
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// More than this is no configuration.
const MAX_OUTPUT: usize = 8 << 20;

/// A resolver at work.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) pid: i32,
    output: OwnedFd,
    text: Vec<u8>,
}

impl Resolver {
    /// Starts one.
    pub(crate) fn start(arguments: &[&str]) -> Result<Resolver> {
        let (output, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let child = Command::new("/proc/self/exe")
            .arg0(resolve::NAME)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(theirs))
            .spawn()
            .context("starting the resolver")?;
        ioctl_fionbio(&output, true)?;
        Ok(Resolver { pid: child.id().cast_signed(), output, text: Vec::new() })
    }

    /// Takes what is there. True when the resolver has said all.
    pub(crate) fn read(&mut self) -> bool {
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            match read(&self.output, &mut buffer) {
                Ok(0) => return true,
                Ok(count) if self.text.len() + count <= MAX_OUTPUT => {
                    self.text.extend_from_slice(&buffer[..count])
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                _ => return true,
            }
        }
    }

    /// What it said.
    pub(crate) fn finish(self) -> Result<Resolved> {
        serde_json::from_slice(&self.text).context("reading what the resolver said")
    }
}

impl AsFd for Resolver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

/// Resolves now. If that fails the machine goes on with an empty configuration, and says so.
pub(super) fn run() -> Resolved {
    match wait() {
        Ok(resolved) => {
            resolved.problems.iter().for_each(|problem| say(&format!("configuration: {problem}")));
            resolved
        }
        Err(error) => {
            say(&format!("configuration: {error:#}"));
            Resolved::default()
        }
    }
}

fn wait() -> Result<Resolved> {
    let mut resolver = Resolver::start(&[])?;
    let deadline = Instant::now() + PATIENCE;
    while !resolver.read() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = corral_engine::sys::signals::send(resolver.pid, 9);
            bail!("it was not resolved within {} s", PATIENCE.as_secs());
        }
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&resolver, PollFlags::IN)], Some(&timeout));
    }
    resolver.finish()
}
