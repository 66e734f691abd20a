//! The kernel's log: /dev/kmsg, a record for each read.
//! <https://docs.kernel.org/admin-guide/abi-testing.html#abi-dev-kmsg>

use super::entry::Entry;
use anyhow::{Context, Result};
use corral_engine::time;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

pub(super) const NAME: &str = "kernel";
const DEVICE: &str = "/dev/kmsg";
/// Longer than any record.
const LARGEST: usize = 16 * 1024;

/// All records that the kernel still has.
pub(super) fn read() -> Result<Vec<Entry>> {
    let mut device = open(OFlags::NONBLOCK)?;
    let mut entries = Vec::new();
    while let Some(entry) = next(&mut device)? {
        entries.extend(entry);
    }
    Ok(entries)
}

/// Records from a time on, as they come, until `print` returns false.
pub(super) fn follow(since: Duration, print: &dyn Fn(&Entry) -> bool) -> Result<()> {
    let mut device = open(OFlags::empty())?;
    while let Some(entry) = next(&mut device)? {
        if let Some(entry) = entry.filter(|entry| entry.time >= since)
            && !print(&entry)
        {
            return Ok(());
        }
    }
    Ok(())
}

fn open(flags: OFlags) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    options.open(DEVICE).with_context(|| format!("opening {DEVICE}"))
}

/// The next record; None if there is none now. Some(None) for one that was overwritten meanwhile,
/// or cannot be read.
fn next(device: &mut File) -> Result<Option<Option<Entry>>> {
    let mut record = [0_u8; LARGEST];
    match device.read(&mut record) {
        Ok(0) => Ok(None),
        Ok(length) => Ok(Some(parse(&String::from_utf8_lossy(&record[..length]), start()))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Some(None)),
        Err(error) => Err(error).with_context(|| format!("reading {DEVICE}")),
    }
}

/// When the kernel's clock was zero, since 1970.
fn start() -> Duration {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since = Duration::try_from(clock).unwrap_or_default();
    time::now().saturating_sub(since)
}

/// `priority,sequence,microseconds,flags;text`, and lines with keys that are left out.
fn parse(record: &str, start: Duration) -> Option<Entry> {
    let (head, text) = record.split_once(';')?;
    let micros = head.split(',').nth(2)?.parse().ok()?;
    let text = text.lines().next().unwrap_or_default().to_owned();
    Some(Entry { time: start + Duration::from_micros(micros), source: NAME.to_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_a_time_and_a_text() {
        let start = Duration::from_secs(100);
        let entry =
            parse("6,339,5140900,-;eth0: link; up\n SUBSYSTEM=net\n DEVICE=n2\n", start).unwrap();
        assert_eq!(entry.text, "eth0: link; up");
        assert_eq!(entry.time, Duration::from_micros(105_140_900));
        assert_eq!(parse("nonsense", start), None);
        assert_eq!(parse("6,1,x,-;text", start), None);
    }
}
