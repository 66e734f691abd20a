//! The kernel's log: where everything that boots the machine leaves its lines, so that `dmesg` tells the whole story.

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

/// Appends one line. A kernel log that cannot be written is no reason to stop, and there is nobody left to tell.
pub fn write(level: Level, program: &str, message: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        for line in message.lines() {
            let _ = log.write_all(format!("<{}>{program}: {line}\n", level as u8).as_bytes());
        }
    }
}
