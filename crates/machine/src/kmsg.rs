//! The kernel's log: everything that boots the machine leaves its lines there, so that `dmesg`
//! shows the complete boot.

use std::fs::OpenOptions;
use std::io::Write;

/// Severity of a line, as in syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// Appends the lines of a message. A kernel log that cannot be written is no reason to stop, and
/// there is nowhere left to report it.
pub fn write(level: Level, program: &str, message: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        for line in message.lines() {
            let _ = log.write_all(format!("<{}>{program}: {line}\n", level as u8).as_bytes());
        }
    }
}
