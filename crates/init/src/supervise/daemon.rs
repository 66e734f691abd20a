//! PID 1's own child that is no container and always there: the engine daemon. It dies without harm.

use super::Supervisor;
use super::timers::Timer;
use corral_machine::console::say;
use corral_plan::restart;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The engine daemon.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    pub(super) pid: Option<i32>,
    pub(super) started: Option<Instant>,
    pub(super) failures: u32,
}

impl Supervisor {
    /// Starts the engine daemon.
    pub(super) fn start_daemon(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open("/var/log/system-docker.log");
        let output =
            || log.as_ref().ok().and_then(|log| log.try_clone().ok()).map_or_else(Stdio::null, Stdio::from);
        let spawned = Command::new("/proc/self/exe")
            .arg0("ros")
            .arg("engine-daemon")
            .env("SSL_CERT_FILE", "/usr/share/ros/layers/base/etc/ssl/certs/ca-certificates.crt")
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn();
        match spawned {
            Ok(child) => {
                self.daemon.pid = Some(child.id().cast_signed());
                self.daemon.started = Some(Instant::now());
            }
            Err(error) => {
                say(&format!("starting the engine daemon: {error}"));
                self.daemon_ended(127);
            }
        }
    }

    /// The engine daemon ended: it starts again, at once or, if it keeps ending, after a pause.
    pub(super) fn daemon_ended(&mut self, code: i32) {
        say(&format!("the engine daemon ended with {code}; starting it again"));
        let stable = self.daemon.started.take().is_some_and(|since| since.elapsed() >= restart::STABLE);
        self.daemon.failures = if stable { 0 } else { self.daemon.failures + 1 };
        self.daemon.pid = None;
        self.timers.set(restart::pause(self.daemon.failures), Timer::StartDaemon);
    }
}
