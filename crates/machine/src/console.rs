//! The few lines that a person at the console is to see; everything goes to the kernel's log as
//! well.

use crate::kmsg::{self, Level};
use crate::os_release::running_version;
use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// Prints a line on the console. A console that does not take it is not waited for: flow control
/// may hold it, or there is no console.
pub fn log(line: &str) {
    kmsg::write(Level::Info, "corral", line);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let console = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open("/dev/console");
    if let Ok(mut console) = console {
        let _ = console.write_all(format!("corral: {line}\r\n").as_bytes());
    }
}

/// Name and version of the system.
pub fn title() -> String {
    format!("Corral v{}", running_version())
}
