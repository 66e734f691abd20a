//! The daemon's own log is a file that PID 1 opened for it. It is bounded: when it is large, its
//! content becomes the old log beside it. The file itself stays, because PID 1's next daemon and
//! programs that follow the log have it open.

use crate::blocking::blocking;
use anyhow::{Context, Result};
use rustix::fs::{FileType, fstat, ftruncate};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(60);
/// So the log takes up to twice this, with the old one.
const MOST: u64 = 10 << 20;

/// Checks its size now and from time to time.
pub(super) async fn bound() {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let rotated = blocking(|| Ok(rotate(std::io::stderr().as_fd(), MOST)?)).await;
        if let Err(error) = rotated {
            eprintln!("{error}");
        }
    }
}

/// Empties the file if it is larger than `most`, and keeps its content under its name with `.1`.
/// What is no file has no size. A disk without room keeps no old log, rather than a log without
/// bounds.
fn rotate(log: BorrowedFd<'_>, most: u64) -> Result<()> {
    let data = fstat(log)?;
    let is_file = FileType::from_raw_mode(data.st_mode) == FileType::RegularFile;
    if !is_file || u64::try_from(data.st_size).unwrap_or_default() <= most {
        return Ok(());
    }
    let path = fs::read_link(format!("/proc/self/fd/{}", log.as_raw_fd()))?;
    let mut old = path.clone().into_os_string();
    old.push(".1");
    let old = PathBuf::from(old);
    let kept = fs::copy(&path, &old);
    // It is opened for appending: the next line is its first.
    ftruncate(log, 0)?;
    if kept.is_err() {
        let _ = fs::remove_file(&old);
    }
    kept.map(drop).with_context(|| format!("keeping the old log as {}", old.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_large_log_becomes_the_old_one() {
        let folder = std::env::temp_dir().join(format!("corral-own-log-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("daemon.log");
        let mut log = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        log.write_all(b"first\n").unwrap();
        rotate(log.as_fd(), 6).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n", "it is not larger");
        log.write_all(b"second\n").unwrap();
        rotate(log.as_fd(), 6).unwrap();
        log.write_all(b"third\n").unwrap();
        assert_eq!(fs::read_to_string(folder.join("daemon.log.1")).unwrap(), "first\nsecond\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
        let (reader, _writer) = std::io::pipe().unwrap();
        rotate(reader.as_fd(), 0).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}
