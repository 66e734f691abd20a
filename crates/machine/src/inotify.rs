//! Waiting for a file: the kernel reports what appears in a folder, or is removed from it.
//! <https://man7.org/linux/man-pages/man7/inotify.7.html>

use crate::deadline;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

/// Waits until `is_there`, which is evaluated again whenever a file has appeared in the folder, or
/// was removed from it.
/// False if it is not by the deadline; without one, this waits as long as it takes.
pub fn wait_for(
    folder: &Path,
    deadline: impl Into<Option<Instant>>,
    is_there: impl Fn() -> bool,
) -> Result<bool> {
    let watching = || format!("watching {}", folder.display());
    let deadline = deadline.into();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let flags =
        inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, folder, flags).with_context(watching)?;
    while !is_there() {
        if !deadline::poll(&mut [PollFd::new(&watch, PollFlags::IN)], deadline)
            .with_context(watching)?
        {
            return Ok(false);
        }
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(&watch, &mut buffer).is_ok_and(|count| count > 0) {}
    }
    Ok(true)
}

/// A folder that is watched: for files that are written, created or moved.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Begins to watch.
    pub fn new(folder: &Path) -> Result<Watch> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, folder, flags)
            .with_context(|| format!("watching {}", folder.display()))?;
        Ok(Watch(watch))
    }

    /// Waits for a change since the last call, or since the watch began.
    pub fn wait(&self) -> Result<()> {
        let mut buffer = [0_u8; 4096];
        rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut buffer))
            .map(drop)
            .context("watching a folder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn a_watch_reports_what_was_written_since_it_began() {
        let folder = std::env::temp_dir().join(format!("corral-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let watch = Watch::new(&folder).unwrap();
        fs::write(folder.join("file"), "1").unwrap();
        watch.wait().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| watch.wait().unwrap());
            fs::write(folder.join("file"), "2").unwrap();
            waiting.join().unwrap();
        });
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_waited_for_until_it_is_there_or_the_time_is_over() {
        let folder = std::env::temp_dir().join(format!("corral-inotify-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, draft) = (folder.join("file"), folder.join("draft"));
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(!wait_for(&folder, soon, || file.exists()).unwrap());
        assert!(Instant::now() >= soon);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for(&folder, None, || file.exists()).unwrap());
            fs::write(&draft, "").unwrap();
            fs::rename(&draft, &file).unwrap();
            assert!(waiting.join().unwrap());
        });
        assert!(
            wait_for(&folder, soon, || file.exists()).unwrap(),
            "one that is there is not waited for"
        );
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for(&folder, None, || !file.exists()).unwrap());
            fs::remove_file(&file).unwrap();
            assert!(waiting.join().unwrap());
        });
        assert!(wait_for(&file.join("below"), None, || false).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
