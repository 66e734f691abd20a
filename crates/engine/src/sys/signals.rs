//! Signals as a descriptor: they wait in line like everything else that the poll loop reads.

use crate::protocol::PowerAction;
use crate::signal::Signal;
use nix::sys::signal::{SigSet, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The signals that PID 1 acts on, blocked and readable.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// What a signal means to PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalAction {
    /// A child ended.
    Reap,
    /// Ctrl-Alt-Del or `kill 1` reboot; SIGUSR1 and SIGUSR2 are sent by busybox' halt and poweroff.
    Power(PowerAction),
}

impl Signals {
    /// Blocks the signals for this process and makes them readable. Programs started later must
    /// unblock them: see [`unblock_all`].
    pub fn open() -> Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [
            Named::SIGCHLD,
            Named::SIGINT,
            Named::SIGTERM,
            Named::SIGUSR1,
            Named::SIGUSR2,
            Named::SIGPIPE,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that means something.
    pub fn take(&mut self) -> Option<SignalAction> {
        while let Ok(Some(info)) = self.0.read_signal() {
            let action = match Named::try_from(info.ssi_signo.cast_signed()) {
                Ok(Named::SIGCHLD) => SignalAction::Reap,
                Ok(Named::SIGINT | Named::SIGTERM) => SignalAction::Power(PowerAction::Reboot),
                Ok(Named::SIGUSR1) => SignalAction::Power(PowerAction::Halt),
                Ok(Named::SIGUSR2) => SignalAction::Power(PowerAction::PowerOff),
                _ => continue,
            };
            return Some(action);
        }
        None
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Undoes the blocking that a child inherits from PID 1. Every program of ours does this first.
pub fn unblock_all() {
    let _ = SigSet::all().thread_unblock();
}

/// Has the program of a command start with no signal blocked. It would inherit what
/// [`Signals::open`] blocks, and act on no SIGTERM.
#[expect(unsafe_code, reason = "std takes any code between fork and exec for unsafe")]
pub fn start_unblocked(command: &mut Command) -> &mut Command {
    let unblock = || {
        unblock_all();
        Ok(())
    };
    // SAFETY: the closure makes one system call. It allocates nothing, and takes no lock that
    // another thread may have held at the fork.
    unsafe { command.pre_exec(unblock) }
}

/// Has this process end on SIGTERM and SIGINT, if it is the first of a PID namespace. To such a
/// process the kernel delivers only signals for which it has a handler (pid_namespaces(7)): without
/// one, it runs until it is killed. What it executes has no handler any more.
#[expect(unsafe_code, reason = "nix takes any change of a signal's disposition for unsafe")]
pub fn end_as_first_process() -> Result<()> {
    extern "C" fn end(signal: nix::libc::c_int) {
        // SAFETY: the call ends the process. It runs no code of ours, and is one that a handler may
        // make: signal-safety(7).
        unsafe { nix::libc::_exit(128 + signal) }
    }
    if std::process::id() != 1 {
        return Ok(());
    }
    for signal in [Named::SIGTERM, Named::SIGINT] {
        let handler = nix::sys::signal::SigHandler::Handler(end);
        // SAFETY: the handler above does nothing but end the process.
        unsafe { nix::sys::signal::signal(signal, handler) }?;
    }
    Ok(())
}

/// Sends a signal to a process that is known to exist (or to be a zombie that we have not reaped).
pub fn send(pid: i32, signal: Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(ErrorKind::InvalidInput)?;
    let unknown = || Error::new(ErrorKind::InvalidInput, format!("{signal} cannot be sent"));
    let named = rustix::process::Signal::from_named_raw(signal.number());
    let raw = named.or_else(|| of_real_time(signal)).ok_or_else(unknown)?;
    Ok(rustix::process::kill_process(pid, raw)?)
}

#[expect(
    unsafe_code,
    reason = "real-time signals have no names in rustix, and nix takes none of them"
)]
fn of_real_time(signal: Signal) -> Option<rustix::process::Signal> {
    // SAFETY: the number is none of those that the C library keeps for itself (just checked), and
    // it is only sent.
    signal
        .is_real_time()
        .then(|| unsafe { rustix::process::Signal::from_raw_unchecked(signal.number()) })
}

/// Ends this process quietly when what reads its output goes away (`ros … | head`), as programs do.
#[expect(unsafe_code, reason = "nix takes any change of a signal's disposition for unsafe")]
pub fn end_on_closed_pipe() {
    // SAFETY: the default disposition runs no code of ours, and this is called before any thread is
    // started.
    let _ = unsafe {
        nix::sys::signal::signal(nix::sys::signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    #[test]
    fn a_program_starts_with_no_signal_blocked_if_that_is_requested() {
        let blocked = |start: fn(&mut Command) -> &mut Command| {
            let of_child = std::thread::spawn(move || {
                let _signals = Signals::open().unwrap();
                let mut command = Command::new("grep");
                command.args(["^SigBlk:", "/proc/self/status"]);
                String::from_utf8(start(&mut command).output().unwrap().stdout).unwrap()
            });
            of_child.join().unwrap().trim_end().trim_start_matches("SigBlk:\t").to_owned()
        };
        assert_eq!(blocked(start_unblocked), "0000000000000000");
        assert_ne!(blocked(|command| command), "0000000000000000");
    }

    #[test]
    fn every_signal_that_has_a_name_can_be_sent() {
        for text in ["SIGTERM", "SIGRTMIN+3", "SIGRTMAX"] {
            let signal: Signal = text.parse().unwrap();
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            send(child.id().cast_signed(), signal).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(signal.number()), "{text}");
        }
    }
}
