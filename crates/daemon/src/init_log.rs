//! `/var/log/boot/init.log`: what PID 1, the resolver and the programs of the boot reported on the
//! console. They write it to the kernel's log (`machine::console::log`), which this reads: PID 1
//! writes to no disk, and lines from before the state disk was mounted are there too.

use crate::logs::Log;
use corral_engine::paths::{BOOT_LOGS, INIT_LOGGED};
use corral_engine::time;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Result};
use std::path::Path;

const MAX_BYTES: u64 = 1 << 20;
const FILES: u32 = 2;
/// No record is longer (CONSOLE_EXT_LOG_MAX of the kernel).
const LONGEST_RECORD: usize = 8192;
/// Beginnings of our lines.
const PROGRAMS: [&str; 3] = ["corral: ", "corral-helper: ", "stage0: "];

/// Copies records until the daemon ends, in a thread of its own: reading them blocks.
pub(super) fn follow() {
    let started = std::thread::Builder::new().name("init-log".to_owned()).spawn(|| {
        if let Err(error) = copy(Path::new("/dev/kmsg"), &Path::new(BOOT_LOGS).join("init.log")) {
            eprintln!("copying the kernel's log to {BOOT_LOGS}/init.log: {error}");
        }
    });
    if let Err(error) = started {
        eprintln!("copying the kernel's log: {error}");
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut records = File::open(from)?;
    let mut log = Log::open(to, MAX_BYTES, FILES)?;
    // A daemon that was started again goes on where the last one ended.
    let logged = fs::read_to_string(INIT_LOGGED).ok().and_then(|text| text.parse::<u64>().ok());
    if logged.is_none() {
        let line = format!("--- boot, {}\n", time::rfc3339(time::now()));
        log.append_lines(&[line.into_bytes()])?;
    }
    let mut buffer = vec![0_u8; LONGEST_RECORD];
    loop {
        let count = match records.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            // Records were overwritten before they were read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
            Err(error) => return Err(error),
        };
        let Some(record) = parse(&buffer[..count]) else { continue };
        if logged.is_none_or(|logged| record.number > logged) {
            log.append_lines(&[record.line.into_bytes()])?;
            let _ = fs::write(INIT_LOGGED, record.number.to_string());
        }
    }
}

/// A line of ours in the kernel's log.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    number: u64,
    /// As dmesg shows it: seconds since the start of the kernel, then the text.
    line: String,
}

/// Parses `priority,number,microseconds,flags;text`. None if it is not of our programs.
/// <https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg>
fn parse(bytes: &[u8]) -> Option<Record> {
    let text = String::from_utf8_lossy(bytes);
    let (head, message) = text.lines().next()?.split_once(';')?;
    let mut fields = head.split(',').skip(1);
    let number = fields.next()?.parse().ok()?;
    let time: u64 = fields.next()?.parse().ok()?;
    if !PROGRAMS.iter().any(|program| message.starts_with(program)) {
        return None;
    }
    let line = format!("[{:5}.{:06}] {message}\n", time / 1_000_000, time % 1_000_000);
    Some(Record { number, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_records_are_lines_and_the_rest_is_left_out() {
        let record = |number, line: &str| Some(Record { number, line: line.to_owned() });
        let cases = [
            (
                "14,339,5140900,-;corral: state: no disk\n SUBSYSTEM=x\n",
                record(339, "[    5.140900] corral: state: no disk\n"),
            ),
            ("11,7,12,-;corral-helper: x\n", record(7, "[    0.000012] corral-helper: x\n")),
            ("6,340,5690716,-;NET: Registered protocol\n", None),
            ("30,1,5,-;other: corral: no\n", None),
            ("nonsense", None),
            ("14,x,5,-;corral: no\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }
}
