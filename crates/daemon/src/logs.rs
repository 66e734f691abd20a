//! Container logs in Docker's json-file format: a line is
//! `{"log":"text\n","stream":"stdout","time":"…"}`. Written with rotation by the engine daemon;
//! read with `tail`, `since` and `follow`.

use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Programs may write secrets: only root reads a log.
const MODE: u32 = 0o600;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub log: String,
    pub stream: String,
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
}

/// The log of a container: at most `max_files` files of about `max_bytes`; the newest has no
/// number.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    max_bytes: u64,
    max_files: u32,
}

impl Log {
    /// Opens a log for appending.
    pub(crate) fn open(path: &Path, max_bytes: u64, max_files: u32) -> Result<Log> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(MODE).open(path)?;
        let size = file.metadata()?.len();
        Ok(Log { path: path.to_path_buf(), file, size, max_bytes, max_files })
    }

    /// Appends lines of Docker's format.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<()> {
        let line = |entry| {
            let mut line = serde_json::to_vec(entry)?;
            line.push(b'\n');
            Ok(line)
        };
        self.append_lines(&entries.iter().map(line).collect::<Result<Vec<_>>>()?)
    }

    /// Appends lines, in one write for each file. A file that cannot be rotated grows until it can
    /// be: no line is lost.
    pub(crate) fn append_lines(&mut self, lines: &[Vec<u8>]) -> Result<()> {
        let (mut bytes, mut rotated) = (Vec::new(), Ok(()));
        for line in lines {
            let start = bytes.len();
            bytes.extend_from_slice(line);
            let is_full = self.size + bytes.len() as u64 > self.max_bytes;
            if is_full && self.size + start as u64 > 0 {
                self.file.write_all(&bytes[..start])?;
                self.size += start as u64;
                bytes.drain(..start);
                rotated = self.rotate();
            }
        }
        self.file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        rotated
    }

    fn rotate(&mut self) -> Result<()> {
        let numbered = |number: u32| match number {
            0 => self.path.clone(),
            n => PathBuf::from(format!("{}.{n}", self.path.display())),
        };
        let fresh = PathBuf::from(format!("{}.new", self.path.display()));
        let file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(MODE).open(&fresh)?;
        for number in (0..self.max_files.saturating_sub(1)).rev() {
            let _ = fs::rename(numbered(number), numbered(number + 1));
        }
        fs::rename(fresh, &self.path)?;
        (self.file, self.size) = (file, 0);
        Ok(())
    }
}

/// Cuts what a container wrote into lines; a line without end is cut at 16 KiB, as Docker does.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

const LONGEST_LINE: usize = 16 * 1024;

impl Lines {
    /// Takes bytes and gives the lines that are complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            self.rest.push(*byte);
            if *byte == b'\n' || self.rest.len() >= LONGEST_LINE {
                lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned());
            }
        }
        lines
    }

    /// What was not ended by a newline.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned())
    }
}

/// The files of a log, oldest first, the rotated ones included.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = (1..10)
        .map(|number| PathBuf::from(format!("{}.{number}", path.display())))
        .take_while(|file| file.exists())
        .collect();
    files.reverse();
    files.push(path.to_path_buf());
    files
}

/// Every line of a log, oldest first.
pub(crate) fn read_all(path: &Path) -> Vec<Entry> {
    read_before(path, None)
}

/// Every line of a log up to a position in its newest file.
pub(crate) fn read_before(path: &Path, until: Option<u64>) -> Vec<Entry> {
    let read = |file: &PathBuf| {
        let limit = until.filter(|_| file == path).unwrap_or(u64::MAX);
        let mut text = Vec::new();
        File::open(file).ok()?.take(limit).read_to_end(&mut text).ok()?;
        Some(text)
    };
    let text: Vec<u8> = files(path).iter().filter_map(read).flatten().collect();
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Reads the lines of a log as they come.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    file: Option<File>,
    rest: Vec<u8>,
}

impl Tail {
    /// After the last line that is there now.
    pub(crate) fn from_end(path: &Path) -> Tail {
        let file = File::open(path)
            .ok()
            .and_then(|mut file| file.seek(SeekFrom::End(0)).ok().map(|_| file));
        Tail { path: path.to_path_buf(), file, rest: Vec::new() }
    }

    /// Where it begins in the newest file.
    pub(crate) fn position(&self) -> u64 {
        self.file.as_ref().and_then(|mut file| file.stream_position().ok()).unwrap_or(0)
    }

    /// What came since the last call. A file that was rotated away is read to its end first.
    pub(crate) fn read(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            if let Some(file) = &mut self.file {
                let _ = file.read_to_end(&mut self.rest);
                self.take_lines(&mut entries);
            }
            let is_same = match (&self.file, fs::metadata(&self.path)) {
                (Some(file), Ok(now)) => file.metadata().is_ok_and(|data| data.ino() == now.ino()),
                (_, Err(_)) => true,
                (None, Ok(_)) => false,
            };
            if is_same {
                return entries;
            }
            self.file = File::open(&self.path).ok();
            self.rest.clear();
        }
    }

    fn take_lines(&mut self, entries: &mut Vec<Entry>) {
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let complete: Vec<u8> = self.rest.drain(..=end).collect();
        entries.extend(
            complete
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::time::rfc3339;
    use std::time::Duration;

    #[test]
    fn a_log_rotates_and_is_read_in_order() {
        let folder = std::env::temp_dir().join(format!("corral-log-{}", std::process::id()));
        let path = folder.join("x.log");
        let mut log = Log::open(&path, 200, 2).unwrap();
        for number in 0..5 {
            let entry = Entry {
                log: format!("line {number}\n"),
                stream: "stdout".into(),
                time: rfc3339(Duration::ZERO),
            };
            log.append(&[entry]).unwrap();
        }
        let lines: Vec<String> = read_all(&path).into_iter().map(|entry| entry.log).collect();
        assert_eq!(
            lines,
            ["line 2\n", "line 3\n", "line 4\n"],
            "two files of two lines each at most"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_rotated_loses_no_line() {
        let folder = std::env::temp_dir().join(format!("corral-log-full-{}", std::process::id()));
        let path = folder.join("x.log");
        let mut log = Log::open(&path, 200, 2).unwrap();
        let entry = |number| Entry {
            log: format!("line {number}\n"),
            stream: "stdout".into(),
            time: rfc3339(Duration::ZERO),
        };
        // As without descriptors: the next file cannot be opened.
        fs::create_dir(folder.join("x.log.new")).unwrap();
        let results: Vec<bool> =
            (0..5).map(|number| log.append(&[entry(number)]).is_ok()).collect();
        assert_eq!(results, [true, true, false, false, false]);
        fs::remove_dir(folder.join("x.log.new")).unwrap();
        log.append(&[entry(5)]).unwrap();
        let lines: Vec<String> = read_all(&path).into_iter().map(|entry| entry.log).collect();
        assert_eq!(lines, ["line 0\n", "line 1\n", "line 2\n", "line 3\n", "line 4\n", "line 5\n"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn output_is_cut_into_lines() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a\nb"), ["a\n"]);
        assert_eq!(lines.push(b"c\n"), ["bc\n"]);
        assert_eq!(lines.push(b"rest"), Vec::<String>::new());
        assert_eq!(lines.finish().as_deref(), Some("rest"));
    }
}
