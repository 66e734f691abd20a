//! PID 1's own child that is no container and always there: the engine daemon. It dies without
//! harm.

use super::moment::Moment;
use crate::restart;
use anyhow::{Context, Result, bail};
use corral_engine::paths::{self, DAEMON_LOG};
use corral_machine::console::log;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The exit code of one that could not be started, as shells have it.
const NOT_STARTED: i32 = 127;

/// The engine daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Daemon {
    pid: Option<i32>,
    started: Option<Moment>,
    /// Failures in a row, without a stable run in between.
    failures: u32,
    /// It was sent a signal to end, and starts again at once.
    restarts: bool,
}

/// The authorities of the configuration, or those of the image.
fn certificates() -> &'static Path {
    let own = Path::new(paths::CERTIFICATES);
    let of_image = Path::new(paths::CERTIFICATES_OF_IMAGE);
    if own.exists() { own } else { of_image }
}

impl Daemon {
    pub(super) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Starts it with these variables: the proxies by which it reaches registries. Returns
    /// the backoff before the next try if that cannot be done.
    pub(super) fn start(&mut self, proxies: Vec<(String, String)>) -> Option<Duration> {
        let file = open_log(Path::new(DAEMON_LOG));
        if let Err(error) = &file {
            log(&format!("the engine daemon logs nothing: {error:#}"));
        }
        let output = || {
            file.as_ref()
                .ok()
                .and_then(|file| file.try_clone().ok())
                .map_or_else(Stdio::null, Stdio::from)
        };
        let spawned = Command::new("/proc/self/exe")
            .arg0("ros")
            .arg("engine-daemon")
            .env("SSL_CERT_FILE", certificates())
            .envs(proxies)
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn();
        match spawned {
            Ok(child) => {
                self.pid = Some(child.id().cast_signed());
                self.started = Some(Moment::now());
                None
            }
            Err(error) => {
                log(&format!("starting the engine daemon: {error}"));
                Some(self.ended(NOT_STARTED))
            }
        }
    }

    /// Ends it, to be started again with another environment. No container notices.
    pub(super) fn restart(&mut self) {
        let pid = self.pid.and_then(Pid::from_raw);
        self.restarts = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
    }

    /// It ended: the backoff before its next start, which is longer if it keeps ending.
    pub(super) fn ended(&mut self, code: i32) -> Duration {
        if std::mem::take(&mut self.restarts) {
            self.pid = None;
            return Duration::ZERO;
        }
        log(&format!("the engine daemon ended with {code}; restarting it"));
        let was_stable =
            self.started.take().is_some_and(|since| since.elapsed() >= restart::STABLE);
        self.failures = if was_stable { 0 } else { self.failures.saturating_add(1) };
        self.pid = None;
        restart::backoff(self.failures)
    }
}

/// Opens a log for appending. Containers may write in its folder: PID 1 must not wait at a pipe
/// there, nor follow a link.
fn open_log(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut options = OpenOptions::new();
    options.create(true).append(true).custom_flags(flags.bits().cast_signed());
    let opening = || format!("opening {}; remove what is there", path.display());
    let file = options.open(path).with_context(opening)?;
    if !file.metadata().with_context(opening)?.is_file() {
        bail!("{} is not a regular file; remove it", path.display());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::fs;
    use std::io::Write;

    #[test]
    fn the_log_is_a_regular_file_or_none() {
        let folder = std::env::temp_dir().join(format!("corral-pid1-log-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, link, pipe) = (folder.join("log"), folder.join("link"), folder.join("pipe"));
        for _ in 0..2 {
            open_log(&file).unwrap().write_all(b"line\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "line\nline\n");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(open_log(&link).is_err() && open_log(&pipe).is_err());
        // With a reader, the pipe could be opened.
        let _reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        assert!(open_log(&pipe).unwrap_err().to_string().contains("not a regular file"));
        fs::remove_dir_all(folder).unwrap();
    }
}
