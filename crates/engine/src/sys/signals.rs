//! Signals as a descriptor: they wait in line like everything else that the poll loop reads.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{Error, ErrorKind, Result};
use std::ops::RangeInclusive;
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

/// Real-time signals; the two below them are the C library's own.
const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// `SIGRTMIN+3`, `SIGRTMAX-1`, or the bare names: what stands after the name is added to it.
fn real_time(from: i32, offset: &str) -> Option<i32> {
    let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    from.checked_add(offset).filter(|signal| REAL_TIME.contains(signal))
}

/// A signal by its name (`SIGTERM`, `term`) or number.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Some(offset) = name.strip_prefix("SIGRTMIN") {
        return real_time(*REAL_TIME.start(), offset);
    }
    if let Some(offset) = name.strip_prefix("SIGRTMAX") {
        return real_time(*REAL_TIME.end(), offset);
    }
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// Sends a signal to a process that is known to exist (or to be a zombie that we have not reaped).
pub fn send(pid: i32, signal: i32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(ErrorKind::InvalidInput)?;
    let unknown = || Error::new(ErrorKind::InvalidInput, format!("signal {signal} cannot be sent"));
    let signal = rustix::process::Signal::from_named_raw(signal).or_else(|| of_real_time(signal));
    Ok(rustix::process::kill_process(pid, signal.ok_or_else(unknown)?)?)
}

#[expect(unsafe_code, reason = "real-time signals have no names in rustix, and nix takes none of them")]
fn of_real_time(signal: i32) -> Option<rustix::process::Signal> {
    // SAFETY: the number is none of those that the C library keeps for itself (just looked), and it is only sent.
    REAL_TIME.contains(&signal).then(|| unsafe { rustix::process::Signal::from_raw_unchecked(signal) })
}

/// Ends this process quietly when what reads its output goes away (`ros … | head`), as programs do.
#[expect(unsafe_code, reason = "nix takes any change of a signal's disposition for unsafe")]
pub fn end_on_closed_pipe() {
    // SAFETY: the default disposition runs no code of ours, and this is called before any thread is started.
    let _ =
        unsafe { nix::sys::signal::signal(nix::sys::signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    #[test]
    fn signals_have_names_and_numbers() {
        let cases = [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("64", Some(64)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("rtmin+15", Some(49)),
            ("RTMAX-14", Some(50)),
            ("SIGRTMAX", Some(64)),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN-1", None),
            ("SIGRTMAX+1", None),
            ("SIGRTMINUS", None),
            ("65", None),
            ("0", None),
            ("SIGNOTHING", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn every_signal_that_has_a_name_can_be_sent() {
        for text in ["SIGTERM", "SIGRTMIN+3", "SIGRTMAX"] {
            let number = parse(text).unwrap();
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            send(child.id().cast_signed(), number).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(number), "{text}");
        }
        // The C library's own.
        assert!(send(std::process::id().cast_signed(), 32).is_err());
    }
}
