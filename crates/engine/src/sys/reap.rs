//! Reaping: PID 1 inherits every orphan, and takes the exit status of all of them.

use rustix::process::{Pid, WaitOptions, wait};

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub pid: i32,
    /// Its exit code, or 128 + the signal that killed it.
    pub code: i32,
}

/// The next child that ended; None when there is none at the moment.
pub fn next() -> Option<End> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let code = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => continue,
                };
                return Some(End { pid: Pid::as_raw(Some(pid)), code });
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}
