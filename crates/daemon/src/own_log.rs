//! The daemon's own log is a file that PID 1 opened for it. It is bounded: when it is large, its
//! content becomes the old log beside it. The file itself stays, because PID 1's next daemon and
//! programs that follow the log have it open.

use crate::blocking::blocking;
use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, ftruncate, openat, openat2,
    renameat, statat, unlinkat,
};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(60);
/// So the log takes up to twice this, with the old one, and thrice while it is rotated.
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
/// What is no file has no size. A disk without room keeps no new old log, rather than a log without
/// bounds.
fn rotate(log: BorrowedFd<'_>, most: u64) -> Result<()> {
    let data = fstat(log)?;
    let is_file = FileType::from_raw_mode(data.st_mode) == FileType::RegularFile;
    if !is_file || u64::try_from(data.st_size).unwrap_or_default() <= most {
        return Ok(());
    }
    let own = format!("/proc/self/fd/{}", log.as_raw_fd());
    let path = fs::read_link(&own).with_context(|| format!("reading {own}"))?;
    let copied = copy_to_old_log(Path::new(&own), &path);
    // It is opened for appending: the next line is its first.
    ftruncate(log, 0)?;
    copied.with_context(|| format!("keeping the old log of {}", path.display()))
}

/// Copies the log to its name with `.1`. Containers may write in its folder. So no link is
/// followed, neither at a name nor in the path.
fn copy_to_old_log(own: &Path, path: &Path) -> Result<()> {
    let mut log = File::open(own).context("opening the log")?;
    let folder = path.parent().context("a path without a folder")?;
    let name = path.file_name().context("a path without a name")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .with_context(|| format!("opening {}", folder.display()))?;
    let (there, open) = (statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?, fstat(&log)?);
    if (there.st_dev, there.st_ino) != (open.st_dev, open.st_ino) {
        bail!("another file has its name now");
    }
    let with = |end: &str| {
        let mut name = name.to_owned();
        name.push(end);
        name
    };
    let (draft, old) = (with(".1.new"), with(".1"));
    // One that a crash left.
    let _ = unlinkat(&folder, &draft, AtFlags::empty());
    let written = copy(&mut log, &folder, &draft)
        .and_then(|()| renameat(&folder, &draft, &folder, &old).context("renaming the copy"));
    if written.is_err() {
        let _ = unlinkat(&folder, &draft, AtFlags::empty());
    }
    written
}

/// Into a new file that only root reads, on the disk.
fn copy(log: &mut File, folder: &OwnedFd, name: &OsString) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(folder, name, flags, Mode::RUSR | Mode::WUSR).context("making the copy")?;
    let mut file = File::from(made);
    std::io::copy(log, &mut file).context("writing the copy")?;
    file.sync_all().context("writing the copy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn open(folder: &Path) -> (PathBuf, File) {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join("daemon.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        (path, log)
    }

    #[test]
    fn no_link_beside_the_log_is_followed() {
        let folder = std::env::temp_dir().join(format!("corral-log-link-{}", std::process::id()));
        let (path, mut log) = open(&folder);
        let (target, old) = (folder.join("target"), folder.join("daemon.log.1"));
        fs::write(&target, "precious").unwrap();
        for name in ["daemon.log.1", "daemon.log.1.new"] {
            symlink(&target, folder.join(name)).unwrap();
        }
        log.write_all(b"first\n").unwrap();
        rotate(log.as_fd(), 0).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        let data = fs::symlink_metadata(&old).unwrap();
        assert!(data.is_file() && data.permissions().mode() & 0o777 == 0o600);
        assert_eq!(fs::read_to_string(&old).unwrap(), "first\n");
        assert!(!folder.join("daemon.log.1.new").exists());
        // The log was moved, and its name leads elsewhere.
        fs::rename(&path, folder.join("moved")).unwrap();
        log.write_all(b"second\n").unwrap();
        let own = format!("/proc/self/fd/{}", log.as_raw_fd());
        fs::write(&path, "").unwrap();
        assert!(copy_to_old_log(Path::new(&own), &path).is_err());
        symlink(&folder, folder.join("link")).unwrap();
        assert!(copy_to_old_log(Path::new(&own), &folder.join("link/moved")).is_err());
        fs::create_dir(folder.join("moved.1")).unwrap();
        assert!(rotate(log.as_fd(), 0).is_err());
        assert_eq!(log.metadata().unwrap().len(), 0, "it is bounded all the same");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_large_log_becomes_the_old_one() {
        let folder = std::env::temp_dir().join(format!("corral-own-log-{}", std::process::id()));
        let (path, mut log) = open(&folder);
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
