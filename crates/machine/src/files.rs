//! Writes that must last: a temporary file, fsync, rename, fsync of the folder. A power loss leaves
//! the old file or the new. Of two writers at the same time one wins, with all that it wrote. Also
//! reads of files that others wrote.

use super::deadline::pause;
use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, FlockOperation, Gid, Mode, OFlags, Uid, fchown, flock, fsync, open, openat, renameat,
    syncfs, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two attempts to take a lock.
const PAUSE: Duration = Duration::from_millis(100);

/// Puts `bytes` at `path` with `mode`, and makes the folders above it.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    write_atomic_for(path, bytes, mode, None)
}

/// The same for an owner. The file belongs to it before it has its name: what another user puts at
/// that name is not changed, and no link is followed.
pub fn write_atomic_for(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> Result<()> {
    let folder = path.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let folder = open_folder(folder).with_context(|| format!("writing {}", path.display()))?;
    write_in(&folder, path, bytes, mode, owner)
}

/// The same in a folder that is open, also if another one is at its path by now. Of the path, the
/// last part is the file's name; the rest is shown.
pub fn write_in(
    folder: &OwnedFd,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let name = path.file_name().context("a path without a name")?;
    let temporary = temporary(name);
    let temporary = temporary.as_str();
    let _ = unlinkat(folder, temporary, AtFlags::empty());
    let written = write_new(folder, temporary, bytes, mode, owner)
        .and_then(|()| rename_in(folder, temporary.as_ref(), name).context("renaming"));
    if written.is_err() {
        // What a full disk cut short would take its room for good.
        let _ = unlinkat(folder, temporary, AtFlags::empty());
    }
    written.with_context(writing)
}

/// Renames a file within an open folder so that its new name lasts; its content must be on the disk
/// by then.
pub fn rename_in(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    renameat(folder, from, folder, to)?;
    Ok(fsync(folder)?)
}

/// Removes a file so that it stays removed; one that is not there is fine.
pub fn remove_durably(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        result => result.with_context(|| format!("removing {}", path.display()))?,
    }
    let folder = path.parent().context("a path without a folder")?;
    sync_folder(folder).with_context(|| format!("removing {}", path.display()))
}

/// Renames what is complete, so that both its content and its name last. Makes the folders above
/// it.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    let act = || format!("renaming {} to {}", from.display(), to.display());
    let folder = to.parent().with_context(act)?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let source = File::open(from).with_context(act)?;
    // A tree is made of more than one file: everything of its file system is written out.
    if source.metadata().with_context(act)?.is_dir() {
        syncfs(&source).with_context(act)?;
    } else {
        source.sync_all().with_context(act)?;
    }
    fs::rename(from, to).with_context(act)?;
    sync_folder(folder).with_context(act)
}

/// Takes the lock of this file until the result is dropped: for a change that reads, decides and
/// writes. The lock is a file beside it. Waits for the current holder.
pub fn lock(path: &Path) -> Result<File> {
    let file = lock_file(path)?;
    flock(&file, FlockOperation::LockExclusive)
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// The same, but an error if another holder still has it at the deadline.
pub fn lock_until(path: &Path, deadline: Instant) -> Result<File> {
    let file = lock_file(path)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // flock(2) has no timeout.
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => pause(PAUSE),
            Err(error) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
    }
}

fn lock_file(path: &Path) -> Result<File> {
    let folder = path.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let name = path.file_name().context("a path without a name")?.to_string_lossy();
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(format!(".{name}.lock")))
        .with_context(|| format!("locking {}", path.display()))
}

/// A regular file of at most so many bytes. Others can write what a program reads: it may be a
/// pipe, a device or a terabyte.
pub fn read_complete(path: &Path, most: u64) -> Result<Vec<u8>> {
    let bytes = read_at_most(path, most.saturating_add(1))?;
    if bytes.len() as u64 > most {
        bail!("{}: larger than the limit of {most} bytes", path.display());
    }
    Ok(bytes)
}

/// The last bytes of a regular file, from the beginning of a line.
pub fn read_tail(path: &Path, most: u64) -> Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let mut file = open_regular(path)?;
    let length = file.metadata().with_context(reading)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most))).with_context(reading)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).with_context(reading)?;
    let cut = (length > most).then(|| bytes.iter().position(|byte| *byte == b'\n')).flatten();
    if let Some(end) = cut {
        bytes.drain(..=end);
    }
    Ok(bytes)
}

/// The first bytes of a regular file.
pub fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    let read = file.take(most).read_to_end(&mut bytes);
    read.with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}

fn open_regular(path: &Path) -> Result<File> {
    let reading = || format!("reading {}", path.display());
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).with_context(reading)?;
    if !file.metadata().with_context(reading)?.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    Ok(file)
}

/// A name beside the file that no other writer has now: process id, a number within the process,
/// time.
fn temporary(name: &OsStr) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Containers have process ids of their own: the time makes their names differ.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let unique = format!("{}-{number}-{}{:09}", std::process::id(), time.tv_sec, time.tv_nsec);
    format!(".{}.{unique}.new", name.to_string_lossy())
}

fn write_new(
    folder: &OwnedFd,
    name: &str,
    bytes: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> Result<()> {
    let mut file = create_in(folder, name.as_ref(), mode)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    if let Some((user, group)) = owner {
        fchown(&file, Some(user), Some(group)).context("changing its owner")?;
    }
    file.sync_all()?;
    Ok(())
}

/// Makes a file in an open folder, for reading and writing. An error if there is one.
pub fn create_in(folder: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(folder, name, flags, Mode::from_raw_mode(mode))?))
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok(open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn sync_folder(folder: &Path) -> Result<()> {
    Ok(fsync(open_folder(folder)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        let folder = std::env::temp_dir().join(format!("corral-files-{}", std::process::id()));
        let path = folder.join("below/secret");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_link_is_replaced_and_what_it_names_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("corral-owner-{}", std::process::id()));
        let (path, other) = (folder.join("file"), folder.join("other"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        // Only root may give a file away.
        let is_root = rustix::process::geteuid().is_root();
        let owner = |id: u32| if is_root { id + 7 } else { id };
        let user = owner(rustix::process::geteuid().as_raw());
        let group = owner(rustix::process::getegid().as_raw());
        let both = Some((Uid::from_raw(user), Gid::from_raw(group)));
        let before = fs::metadata(&other).unwrap();
        write_atomic_for(&path, b"new", 0o600, both).unwrap();
        let written = fs::symlink_metadata(&path).unwrap();
        assert!(written.is_file());
        assert_eq!((written.uid(), written.gid()), (user, group));
        let after = fs::metadata(&other).unwrap();
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(fs::read(&other).unwrap(), b"other");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn of_writers_at_the_same_time_each_writes_all_or_nothing() {
        let folder = std::env::temp_dir().join(format!("corral-writers-{}", std::process::id()));
        let path = folder.join("file");
        write_atomic(&path, &vec![0; 200_000], 0o600).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    (0..20).for_each(|_| write_atomic(path, &vec![writer; 200_000], 0o600).unwrap())
                });
            }
            for _ in 0..200 {
                let bytes = fs::read(&path).unwrap();
                assert!(bytes.len() == 200_000 && bytes.iter().all(|byte| *byte == bytes[0]));
            }
        });
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_and_trees_are_renamed_over_what_was_there() {
        let folder = std::env::temp_dir().join(format!("corral-rename-{}", std::process::id()));
        let (from, to) = (folder.join("tree"), folder.join("below/it"));
        fs::create_dir_all(from.join("sub")).unwrap();
        rename_durably(&from, &to).unwrap();
        rename_durably(&to.join("sub"), &folder.join("sub")).unwrap();
        for text in ["one", "two"] {
            fs::write(&from, text).unwrap();
            rename_durably(&from, &to.join("file")).unwrap();
            assert_eq!(fs::read_to_string(to.join("file")).unwrap(), text);
        }
        let missing = rename_durably(&from, &to).unwrap_err().to_string();
        assert_eq!(missing, format!("renaming {} to {}", from.display(), to.display()));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn with_the_lock_no_change_is_lost() {
        let folder = std::env::temp_dir().join(format!("corral-lock-{}", std::process::id()));
        let path = folder.join("number");
        write_atomic(&path, b"0", 0o600).unwrap();
        let add_one = || {
            let _lock = lock(&path).unwrap();
            let number: u32 = fs::read_to_string(&path).unwrap().parse().unwrap();
            write_atomic(&path, (number + 1).to_string().as_bytes(), 0o600).unwrap();
        };
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| (0..25).for_each(|_| add_one()))));
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "200");
        let held = lock(&path).unwrap();
        let late = lock_until(&path, Instant::now()).unwrap_err().to_string();
        assert_eq!(late, format!("locking {}", path.display()));
        drop(held);
        assert!(lock_until(&path, Instant::now()).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn pipes_devices_and_what_is_too_large_are_not_read() {
        let folder = std::env::temp_dir().join(format!("corral-read-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, pipe) = (folder.join("file"), folder.join("pipe"));
        fs::write(&file, "12345").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR).unwrap();
        assert_eq!(read_complete(&file, 5).unwrap(), b"12345");
        assert!(read_complete(&file, 4).is_err());
        assert_eq!(read_at_most(&file, 4).unwrap(), b"1234");
        let lines = folder.join("lines");
        fs::write(&lines, "one\ntwo\nthree\n").unwrap();
        assert_eq!(read_tail(&lines, 8).unwrap(), b"three\n");
        assert_eq!(read_tail(&lines, 100).unwrap(), b"one\ntwo\nthree\n");
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.as_path()] {
            assert!(read_complete(path, 100).is_err(), "{}", path.display());
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
