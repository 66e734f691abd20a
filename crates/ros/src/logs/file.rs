//! Files below /var/log, with the one that the last rotation left beside them.

use super::entry::Entry;
use anyhow::{Context, Result};
use corral_machine::files::read_tail;
use corral_machine::inotify::Watch;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

pub(super) const FOLDER: &str = "/var/log";
/// How much of a file is read, from its end.
const MOST: u64 = 16 << 20;

/// The lines of a file below /var/log.
pub(super) fn read(name: &str) -> Result<Vec<Entry>> {
    let path = Path::new(FOLDER).join(name);
    let rotated = Path::new(FOLDER).join(format!("{name}.1"));
    let old = if rotated.is_file() { read_tail(&rotated, MOST)? } else { Vec::new() };
    let text = [old, read_tail(&path, MOST)?].concat();
    // Lines without a time have that of the last write.
    let written = path.metadata().and_then(|data| data.modified()).ok();
    let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(parse(name, &String::from_utf8_lossy(&text), written.unwrap_or_default()))
}

fn parse(name: &str, text: &str, written: Duration) -> Vec<Entry> {
    let mut before = None;
    let entry = |line: &str| {
        let entry = Entry::parse(name, line, before.unwrap_or(written));
        before = (entry.time != written).then_some(entry.time);
        entry
    };
    text.lines().map(entry).collect()
}

/// Lines as they are written, until `print` returns false. When the file is rotated, the new one is
/// followed.
pub(super) fn follow(name: &str, since: Duration, print: &dyn Fn(&Entry) -> bool) -> Result<()> {
    let path = Path::new(FOLDER).join(name);
    let opening = || format!("opening {}", path.display());
    let watch = Watch::new(Path::new(FOLDER))?;
    let mut file = File::open(&path).with_context(opening)?;
    file.seek(SeekFrom::End(0)).with_context(opening)?;
    let mut open_line = Vec::new();
    loop {
        file.read_to_end(&mut open_line).with_context(opening)?;
        while let Some(end) = open_line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = open_line.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if !print(&Entry::parse(name, line.trim_end(), corral_engine::time::now().max(since))) {
                return Ok(());
            }
        }
        match File::open(&path) {
            Ok(newer) if newer.metadata()?.ino() != file.metadata()?.ino() => file = newer,
            _ => watch.wait()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_time_follow_the_line_before() {
        let text = "begin\n2023-11-14T22:13:20Z host a: one\n two\n";
        let written = Duration::from_secs(9);
        let times: Vec<u64> =
            parse("syslog", text, written).iter().map(|entry| entry.time.as_secs()).collect();
        assert_eq!(times, [9, 1_700_000_000, 1_700_000_000]);
    }
}
