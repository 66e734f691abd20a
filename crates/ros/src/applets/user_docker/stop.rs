//! `ros stop-user-containers`, run by PID 1 in a shutdown once dockerd has ended. With
//! `live_restore` dockerd leaves its containers running. Each gets its stop signal and has its stop
//! timeout, as with `docker stop`. All of them stop at the same time. Docker does not record that
//! as a stop by its user: at the next boot the restart policy of each decides.

use super::daemon_json;
use anyhow::Result;
use corral_engine::signal::Signal;
use corral_engine::sys::signals;
use corral_machine::console::log;
use corral_machine::{cgroup, deadline};
use corral_resolve::effective::load_config;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Docker's default for a container without a stop timeout.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The part of Docker's record of a container (`config.v2.json`) that is used here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    state: State,
    config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    pid: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    stop_signal: Option<String>,
    /// In seconds; a negative one is unlimited.
    stop_timeout: Option<i64>,
}

/// A container that runs.
struct Running {
    record: Record,
    /// Its first process.
    process: OwnedFd,
    /// When it is killed.
    end: Option<Instant>,
}

/// Returns when no container runs any more. The shutdown has its own timeout.
pub(crate) fn run() -> Result<()> {
    let folder = daemon_json::data_root(&load_config()?.rancher.docker).join("containers");
    let mut left: Vec<Running> = records(&folder).filter_map(Running::find).collect();
    left.iter_mut().for_each(Running::stop);
    while !left.is_empty() {
        let next = left.iter().filter_map(|container| container.end).min();
        let mut polled: Vec<PollFd<'_>> =
            left.iter().map(|running| PollFd::new(&running.process, PollFlags::IN)).collect();
        deadline::poll(&mut polled, next)?;
        let has_ended: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut has_ended = has_ended.into_iter();
        left.retain(|_| !has_ended.next().unwrap_or_default());
        let now = Instant::now();
        let late = left.iter_mut().filter(|running| running.end.is_some_and(|end| end <= now));
        late.for_each(Running::kill);
    }
    Ok(())
}

/// Skips records that cannot be read: dockerd starts no container from them.
fn records(folder: &Path) -> impl Iterator<Item = Record> {
    let items = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = items.filter_map(|item| fs::read(item.path().join("config.v2.json")).ok());
    texts.filter_map(|text| serde_json::from_slice(&text).ok())
}

impl Running {
    /// None if it does not run. A stale record may name the process id of another program, so the
    /// cgroup is checked too.
    fn find(record: Record) -> Option<Running> {
        let pid = Pid::from_raw(record.state.pid)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        cgroup_of(&record)?;
        Some(Running { record, process, end: None })
    }

    fn stop(&mut self) {
        self.end = self.record.config.timeout().map(deadline::after);
        self.send(self.record.config.signal());
        // One that is paused acts on no signal before it continues.
        if let Some(cgroup) = cgroup_of(&self.record) {
            let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
        }
    }

    fn kill(&mut self) {
        self.end = None;
        let (name, config) = (self.record.name.trim_start_matches('/'), &self.record.config);
        let seconds = config.timeout().unwrap_or_default().as_secs();
        log(&format!("docker: {name} did not stop within {seconds} s: killed"));
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        if let Err(error) = signals::send(self.record.state.pid, signal) {
            let name = self.record.name.trim_start_matches('/');
            log(&format!("docker: sending {signal} to {name}: {error}"));
        }
    }
}

impl Config {
    fn signal(&self) -> Signal {
        let named = self.stop_signal.as_deref().and_then(|name| name.parse().ok());
        named.unwrap_or(Signal::TERM)
    }

    /// None: unlimited.
    fn timeout(&self) -> Option<Duration> {
        match self.stop_timeout {
            None => Some(DEFAULT_STOP_TIMEOUT),
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        }
    }
}

/// The cgroup of its first process, if that belongs to the container.
fn cgroup_of(record: &Record) -> Option<PathBuf> {
    let cgroup = cgroup::of_process(record.state.pid).ok()?;
    is_named_by(&cgroup, &record.id).then_some(cgroup)
}

/// Docker names the cgroup of a container by its id.
fn is_named_by(cgroup: &Path, id: &str) -> bool {
    !id.is_empty() && cgroup.to_string_lossy().contains(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_docker_names_signal_and_timeout() {
        let record = |config: &str| -> Record {
            let text = format!(
                r#"{{"State": {{"Running": true, "Paused": false, "Pid": 812}}, "ID": "4f5e",
                    "StreamConfig": {{}}, "Config": {{"Hostname": "x"{config}}}, "Name": "/web"}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let int: Signal = "SIGINT".parse().unwrap();
        for (config, signal, timeout) in [
            ("", Signal::TERM, Some(10)),
            (r#", "StopSignal": null, "StopTimeout": null"#, Signal::TERM, Some(10)),
            (r#", "StopSignal": "SIGINT", "StopTimeout": 0"#, int, Some(0)),
            (r#", "StopSignal": "2", "StopTimeout": 90"#, int, Some(90)),
            (r#", "StopSignal": "SIGNOTHING", "StopTimeout": -1"#, Signal::TERM, None),
        ] {
            let Record { config, state, name, .. } = record(config);
            assert_eq!((config.signal(), state.pid, name.as_str()), (signal, 812, "/web"));
            assert_eq!(config.timeout(), timeout.map(Duration::from_secs));
        }
    }

    #[test]
    fn a_process_belongs_to_the_container_that_its_cgroup_names() {
        let cgroup = Path::new("/sys/fs/cgroup/docker/4f5e");
        assert!(is_named_by(cgroup, "4f5e"));
        assert!(!is_named_by(cgroup, "77aa"));
        assert!(!is_named_by(cgroup, ""));
    }
}
