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
/// followed; one that is emptied is followed from its beginning.
pub(super) fn follow(name: &str, since: Duration, print: &dyn Fn(&Entry) -> bool) -> Result<()> {
    let path = Path::new(FOLDER).join(name);
    let opening = || format!("opening {}", path.display());
    let mut file = File::open(&path).with_context(opening)?;
    file.seek(SeekFrom::End(0)).with_context(opening)?;
    follow_from(file, &path, &|line| {
        print(&Entry::parse(name, line, corral_engine::time::now().max(since)))
    })
}

/// From the position of the file, which was opened at this path.
fn follow_from(mut file: File, path: &Path, print: &dyn Fn(&str) -> bool) -> Result<()> {
    let reading = || format!("reading {}", path.display());
    let watch = Watch::new(path.parent().with_context(reading)?)?;
    let mut open_line = Vec::new();
    loop {
        if file.metadata().with_context(reading)?.len() < file.stream_position()? {
            file.rewind().with_context(reading)?;
            open_line.clear();
        }
        file.read_to_end(&mut open_line).with_context(reading)?;
        while let Some(end) = open_line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = open_line.drain(..=end).collect();
            if !print(String::from_utf8_lossy(&line).trim_end()) {
                return Ok(());
            }
        }
        match File::open(path) {
            Ok(newer) if newer.metadata()?.ino() != file.metadata()?.ino() => file = newer,
            _ => watch.wait()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io::Write;

    #[test]
    fn lines_without_a_time_follow_the_line_before() {
        let text = "begin\n2023-11-14T22:13:20Z host a: one\n two\n";
        let written = Duration::from_secs(9);
        let times: Vec<u64> =
            parse("syslog", text, written).iter().map(|entry| entry.time.as_secs()).collect();
        assert_eq!(times, [9, 1_700_000_000, 1_700_000_000]);
    }

    /// Each line makes the next write.
    #[test]
    fn a_file_that_is_emptied_or_replaced_is_followed() {
        let folder = std::env::temp_dir().join(format!("corral-follow-{}", std::process::id()));
        let path = folder.join("web.log");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, "a line that was there before\n").unwrap();
        let mut file = File::open(&path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"one\n").unwrap();
        let lines = RefCell::new(Vec::new());
        let print = |line: &str| {
            lines.borrow_mut().push(line.to_owned());
            match line {
                "one" => std::fs::write(&path, "two\n").unwrap(),
                "two" => {
                    std::fs::rename(&path, folder.join("web.log.1")).unwrap();
                    std::fs::write(&path, "three\n").unwrap();
                }
                _ => return false,
            }
            true
        };
        follow_from(file, &path, &print).unwrap();
        assert_eq!(*lines.borrow(), ["one", "two", "three"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
