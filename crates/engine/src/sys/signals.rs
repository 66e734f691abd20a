//! Signals as a descriptor: they wait in line like everything else that the poll loop reads.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::Result;
use std::os::fd::{AsFd, BorrowedFd};

/// The signals that PID 1 acts on, blocked and readable.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// What a signal asks of PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A child ended.
    Reap,
    /// Ctrl-Alt-Del, or `kill 1`.
    Reboot,
    /// SIGUSR2, as busybox' poweroff sends it.
    PowerOff,
    /// SIGUSR1, as busybox' halt sends it.
    Halt,
}

impl Signals {
    /// Blocks the signals for this process and makes them readable. Programs started later must unblock them:
    /// see [`unblock_all`].
    pub fn open() -> Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGPIPE,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that means something.
    pub fn take(&mut self) -> Option<Ask> {
        while let Ok(Some(info)) = self.0.read_signal() {
            let ask = match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD) => Ask::Reap,
                Ok(Signal::SIGINT | Signal::SIGTERM) => Ask::Reboot,
                Ok(Signal::SIGUSR1) => Ask::Halt,
                Ok(Signal::SIGUSR2) => Ask::PowerOff,
                _ => continue,
            };
            return Some(ask);
        }
        None
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Undoes the blocking that a child inherits from PID 1. The first thing that every program of ours does.
pub fn unblock_all() {
    let _ = SigSet::all().thread_unblock();
}

/// A signal by its name (`SIGTERM`, `term`) or number.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Some(offset) = name.strip_prefix("SIGRTMIN+") {
        return offset.parse::<i32>().ok().map(|offset| 34 + offset);
    }
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// Sends a signal to a process that is known to exist (or to be a zombie that we have not reaped).
pub fn send(pid: i32, signal: i32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(std::io::ErrorKind::InvalidInput)?;
    // Real-time signals have no name in rustix; nix has none either, but takes none at all.
    match rustix::process::Signal::from_named_raw(signal) {
        Some(signal) => Ok(rustix::process::kill_process(pid, signal)?),
        None => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("signal {signal} cannot be sent"),
        )),
    }
}

/// Ends this process quietly when what reads its output goes away (`ros … | head`), as programs do.
#[expect(unsafe_code, reason = "nix takes any change of a signal's disposition for unsafe")]
pub fn end_on_closed_pipe() {
    // SAFETY: the default disposition runs no code of ours, and this is called before any thread is started.
    let _ =
        unsafe { nix::sys::signal::signal(nix::sys::signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) };
}
