//! PID 1's own child that is no container and always there: the engine daemon. It dies without
//! harm.

use super::moment::Moment;
use crate::restart;
use corral_engine::paths::DAEMON_LOG;
use corral_machine::console::log;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::os::unix::process::CommandExt;
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

impl Daemon {
    pub(super) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Starts it with these variables: the proxies by which it reaches registries. The pause before
    /// the next try, if that cannot be done.
    pub(super) fn start(&mut self, proxies: Vec<(String, String)>) -> Option<Duration> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(DAEMON_LOG);
        let output = || {
            file.as_ref()
                .ok()
                .and_then(|file| file.try_clone().ok())
                .map_or_else(Stdio::null, Stdio::from)
        };
        let spawned = Command::new("/proc/self/exe")
            .arg0("ros")
            .arg("engine-daemon")
            .env("SSL_CERT_FILE", "/usr/share/ros/layers/base/etc/ssl/certs/ca-certificates.crt")
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

    /// It ended: the pause before its next start, which is longer if it keeps ending.
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
        restart::pause(self.failures)
    }
}
