//! The table of containers: what PID 1 knows of each.

use crate::launch;
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::logs;
use corral_engine::spec::{ContainerSpec, Snapshot};
use corral_plan::lifecycle::{Record, State};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) spec: ContainerSpec,
    pub(super) state: State,
    /// Process id of its first process; 0 while there is none.
    pub(super) pid: i32,
    pub(super) exit_code: i32,
    pub(super) error: String,
    /// Starts that its policy asked for.
    pub(super) restarts: u32,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) created: u64,
    pub(super) started: u64,
    pub(super) finished: u64,
    pub(super) up_since: Option<Instant>,
    /// Read ends of what it writes (1: stdout or the pty, 2: stderr), kept so that no line is lost while the engine
    /// daemon is away.
    pub(super) streams: Vec<(u8, OwnedFd)>,
    /// A cleanup helper is at work after its end; with the code that it ended with.
    pub(super) cleaning: Option<i32>,
    /// Somebody asked for a start as soon as it has ended.
    pub(super) start_again: bool,
    /// The plan made it, not a client.
    pub(super) planned: bool,
    /// It ends because the configuration changed; a cleanup helper then removes it.
    pub(super) retiring: bool,
    pub(super) removing: bool,
}

/// Milliseconds since 1970.
pub(super) fn millis() -> u64 {
    u64::try_from(logs::now().as_millis()).unwrap_or(0)
}

impl Container {
    /// A container that was never started.
    pub(super) fn new(mut spec: ContainerSpec) -> Container {
        let id = new_id();
        if spec.name.is_empty() {
            spec.name = format!("c{}", &id[..11]);
        }
        Container {
            id,
            spec,
            state: State::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            restarts: 0,
            failures: 0,
            created: millis(),
            started: 0,
            finished: 0,
            up_since: None,
            streams: Vec::new(),
            cleaning: None,
            start_again: false,
            planned: false,
            retiring: false,
            removing: false,
        }
    }

    /// What the lifecycle needs to know.
    pub(super) fn record(&self) -> Record {
        Record { policy: launch::policy(&self.spec), restarts: self.restarts, failures: self.failures }
    }

    /// Has it ended, for good or until its next start?
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Created | State::Exited | State::Restarting) && self.cleaning.is_none()
    }

    /// What is told of it.
    pub(super) fn snapshot(&self) -> Snapshot {
        let state = match self.state {
            State::Created => "created",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Exited => "exited",
            State::Restarting => "restarting",
        };
        Snapshot {
            id: self.id.clone(),
            spec: self.spec.clone(),
            state: state.to_owned(),
            pid: self.pid,
            exit_code: self.exit_code,
            error: self.error.clone(),
            restarts: self.restarts,
            created: self.created,
            started: self.started,
            finished: self.finished,
        }
    }
}

impl super::Supervisor {
    /// The id of a container named by id, name or the unique beginning of an id.
    pub(super) fn find(&self, name: &str) -> Result<String, EngineError> {
        let name = name.trim_start_matches('/');
        if self.containers.contains_key(name) {
            return Ok(name.to_owned());
        }
        if let Some(container) = self.containers.values().find(|container| container.spec.name == name) {
            return Ok(container.id.clone());
        }
        let mut found = self.containers.keys().filter(|id| !name.is_empty() && id.starts_with(name));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id.clone()),
            (Some(_), Some(_)) => {
                Err(EngineError::BadRequest(format!("{name} is the beginning of several ids")))
            }
            _ => Err(EngineError::NoSuchContainer(name.to_owned())),
        }
    }

    /// The container whose first process this is.
    pub(super) fn container_of(&self, pid: i32) -> Option<String> {
        self.containers.values().find(|container| container.pid == pid).map(|container| container.id.clone())
    }
}
