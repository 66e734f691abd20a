//! Running the resolver as a child: in a boot step with a deadline, or watched by the loop.

use anyhow::{Context, Result, anyhow, bail};
use corral_machine::console::log;
use corral_machine::{deadline, program};
use corral_plan::resolved::Resolved;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio, read};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The name under which this binary resolves.
pub const NAME: &str = "corral-resolve";
/// Its argument when an unconfirmed change is to be rolled back first, before the id of the change.
pub const ROLL_BACK: &str = "--roll-back";
/// Its argument when modules and sysctl are to follow what changed; in a boot PID 1 does that
/// first.
pub const WITH_KERNEL: &str = "--with-kernel";
/// Its argument when the owner's files are to be left out, before the reason why they could not be
/// resolved.
pub const BUILT_IN: &str = "--built-in";
/// Its argument when no data source is to be looked for either.
pub const NO_SOURCES: &str = "--no-sources";
/// Why the configuration could not be resolved last; not there when it could.
pub const FAILURE: &str = "/run/corral/resolver-failure";
/// What a person who logs in is to know of it: in the banner, and when a shell starts.
pub const NOTICE: &str = "/run/corral/notice";
/// How long it may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to end once its output is complete.
const END_TIME: Duration = Duration::from_secs(5);
/// More than this is no configuration: a document has a mebibyte, and what it expands to a few.
const MAX_OUTPUT: usize = 64 << 20;

/// A resolver at work.
#[derive(Debug)]
pub(crate) struct Resolver {
    child: Child,
    output: OwnedFd,
    text: Vec<u8>,
    /// Why it was ended.
    given_up: Option<String>,
}

impl Resolver {
    /// Starts one.
    pub(crate) fn start(arguments: &[&str]) -> Result<Resolver> {
        let (output, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(theirs))
            .spawn()
            .context("starting the resolver")?;
        ioctl_fionbio(&output, true)?;
        Ok(Resolver { child, output, text: Vec::new(), given_up: None })
    }

    /// Takes the output that is there. True when the output is complete, or larger than is taken.
    pub(crate) fn read(&mut self) -> bool {
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            match read(&self.output, &mut buffer) {
                Ok(0) => return true,
                Ok(count) if self.text.len() + count <= MAX_OUTPUT => {
                    self.text.extend_from_slice(&buffer[..count])
                }
                Ok(_) => {
                    self.given_up = Some(format!(
                        "the resolved configuration is larger than {} MiB",
                        MAX_OUTPUT >> 20
                    ));
                    let _ = self.child.kill();
                    return true;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
    }

    /// The configuration and plan that it wrote.
    pub(crate) fn finish(self) -> Result<Resolved> {
        if let Some(reason) = self.given_up {
            bail!("{reason}");
        }
        serde_json::from_slice(&self.text).context("the resolver ended without a complete answer")
    }

    /// It took too long. It is killed and not waited for: a process that hangs in a driver ends
    /// when the driver lets it.
    pub(crate) fn give_up(mut self) -> anyhow::Error {
        let _ = self.child.kill();
        anyhow!("the resolver did not finish within {} s", TIMEOUT.as_secs())
    }

    /// The same as `finish` for a resolver that no loop reaps: how it ended explains more than
    /// output that is not complete. Its output is closed, so it is about to end; PID 1 waits for it
    /// no longer than it has to.
    fn finish_and_reap(mut self) -> Result<Resolved> {
        if self.given_up.is_none() {
            let _ = self.child.kill();
            let status = program::wait(&mut self.child, deadline::after(END_TIME))?;
            if let Some(status) = status.filter(|status| !status.success()) {
                bail!("the resolver ended early ({status})");
            }
        }
        self.finish()
    }
}

impl AsFd for Resolver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

/// Resolves now. If that fails for any reason, resolves again without the owner's files, so that a
/// machine comes up and its owner can log in. None if that fails too.
pub(super) fn run() -> Option<Resolved> {
    let resolved = wait(&[]).or_else(|error| {
        note_failure(&error);
        log("configuration: resolving again without the owner's files");
        let reason = format!("{error:#}");
        // Where a drive does not answer it must not be looked for again.
        wait(&[BUILT_IN, &reason]).or_else(|_| wait(&[BUILT_IN, &reason, NO_SOURCES]))
    });
    match resolved {
        Ok(resolved) => {
            resolved.problems.iter().for_each(|problem| log(&format!("configuration: {problem}")));
            Some(resolved)
        }
        Err(error) => {
            log(&format!("configuration: {error:#}"));
            None
        }
    }
}

/// Reports it on the console, at each login and to `ros why`, until a configuration was resolved.
pub(crate) fn note_failure(error: &anyhow::Error) {
    log(&format!("configuration: {error:#}"));
    let notice = format!("The configuration could not be resolved: {error:#}; see: sudo ros why\n");
    for (path, text) in [(FAILURE, format!("{error:#}\n")), (NOTICE, notice)] {
        if let Err(error) = fs::write(path, text) {
            log(&format!("writing {path}: {error}"));
        }
    }
}

fn wait(arguments: &[&str]) -> Result<Resolved> {
    let mut resolver = Resolver::start(arguments)?;
    let end = deadline::after(TIMEOUT);
    while !resolver.read() {
        if !matches!(deadline::poll(&mut [PollFd::new(&resolver, PollFlags::IN)], end), Ok(true)) {
            return Err(resolver.give_up());
        }
    }
    resolver.finish_and_reap()
}
