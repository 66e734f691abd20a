//! The table of containers: what PID 1 knows of each.

use super::age;
use super::clients::Waiting;
use crate::launch;
use corral_engine::core::Streams;
use corral_engine::error::EngineError;
use corral_engine::spec::{self, ContainerSpec, Past, Snapshot, Status};
use corral_engine::{sys, time};
use corral_plan::lifecycle::{Record, State};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
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
    /// The kernel ended it for want of memory.
    pub(super) oom_killed: bool,
    pub(super) paused: bool,
    /// What its check found last, in Docker's words.
    pub(super) health: String,
    /// Our ends of its streams (0: stdin, 1: stdout or the pty, 2: stderr), kept so that nothing is lost while the
    /// engine daemon is away.
    pub(super) streams: Vec<(u8, OwnedFd)>,
    /// A cleanup helper is at work after its end; with the code that it ended with.
    pub(super) cleaning: Option<i32>,
    /// Somebody asked for a start as soon as it has ended.
    pub(super) start_again: bool,
    /// What the plan wants, if the plan made it and not a client.
    pub(super) planned: Option<Box<ContainerSpec>>,
    /// The engine daemon gets what it wants before it can be made.
    pub(super) preparing: bool,
    /// As a service of the plan it has done what others wait for, and that was acted on.
    pub(super) noted: bool,
    /// It ends because the configuration changed; a cleanup helper then removes it.
    pub(super) retiring: bool,
    pub(super) removing: bool,
    /// Clients who want it to be forgotten as soon as it has ended.
    pub(super) removers: Vec<Waiting>,
}

/// Milliseconds since 1970.
pub(super) fn millis() -> u64 {
    u64::try_from(time::now().as_millis()).unwrap_or(0)
}

impl Container {
    /// A container that was never started.
    pub(super) fn new(id: String, spec: ContainerSpec) -> Container {
        let health = if spec.health.is_some() { "starting".to_owned() } else { String::new() };
        Container {
            id,
            spec,
            state: State::Created,
            oom_killed: false,
            paused: false,
            health,
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
            planned: None,
            preparing: false,
            noted: false,
            retiring: false,
            removing: false,
            removers: Vec::new(),
        }
    }

    /// Fresh streams for its next start: our ends are kept, the others come back. None for one with a terminal, which
    /// comes with its process: pipes in its place would end, and who attached would take that for the end of its output.
    pub(super) fn open_streams(&mut self) -> Streams {
        let mut theirs = Streams::default();
        self.streams.clear();
        if self.spec.tty {
            return theirs;
        }
        if self.spec.open_stdin
            && let Ok((stdin, ours)) = pipe_with(PipeFlags::CLOEXEC)
        {
            self.streams.push((0, ours));
            theirs.stdin = Some(stdin);
        }
        for stream in [1, 2] {
            if let Ok((ours, output)) = pipe_with(PipeFlags::CLOEXEC) {
                self.streams.push((stream, ours));
                let target = if stream == 1 { &mut theirs.stdout } else { &mut theirs.stderr };
                *target = Some(output);
            }
        }
        theirs
    }

    /// One that was there before this boot: it is not started for that.
    pub(super) fn with_past(mut self, past: &Past) -> Container {
        (self.created, self.started, self.finished) = (past.created, past.started, past.finished);
        self.exit_code = past.exit_code;
        if past.started > 0 {
            self.state = State::Exited;
        }
        self
    }

    /// What the lifecycle needs to know.
    pub(super) fn record(&self) -> Record {
        Record { policy: launch::policy(&self.spec), restarts: self.restarts, failures: self.failures }
    }

    /// Has it ended, for good or until its next start?
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Created | State::Exited | State::Restarting) && self.cleaning.is_none()
    }

    /// How it is.
    pub(super) fn status(&self) -> Status {
        Status {
            state: match self.state {
                State::Created => spec::State::Created,
                State::Starting => spec::State::Starting,
                State::Running => spec::State::Running,
                State::Stopping => spec::State::Stopping,
                State::Exited => spec::State::Exited,
                State::Restarting => spec::State::Restarting,
            },
            paused: self.paused,
            pid: self.pid,
            exit_code: self.exit_code,
            oom_killed: self.oom_killed,
            error: self.error.clone(),
            restarts: self.restarts,
            created: self.created,
            started: self.started,
            finished: self.finished,
            health: self.health.clone(),
            planned: self.planned.is_some(),
        }
    }

    /// What is told of it.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { id: self.id.clone(), spec: self.spec.clone(), status: self.status() }
    }

    fn save(&self) -> Saved {
        Saved {
            id: self.id.clone(),
            spec: self.spec.clone(),
            state: self.state,
            pid: self.pid,
            exit_code: self.exit_code,
            error: self.error.clone(),
            restarts: self.restarts,
            failures: self.failures,
            times: (self.created, self.started, self.finished),
            up_for: self.up_since.map(age::since),
            streams: self.streams.iter().map(|(number, stream)| (*number, stream.as_raw_fd())).collect(),
            cleaning: self.cleaning,
            oom_killed: self.oom_killed,
            paused: self.paused,
            health: self.health.clone(),
            start_again: self.start_again,
            planned: self.planned.clone(),
            preparing: self.preparing,
            noted: self.noted,
            retiring: self.retiring,
            removing: self.removing,
            removers: self.removers.clone(),
        }
    }

    fn restore(saved: Saved) -> Container {
        let (created, started, finished) = saved.times;
        let streams = saved.streams.into_iter();
        Container {
            id: saved.id,
            spec: saved.spec,
            state: saved.state,
            pid: saved.pid,
            exit_code: saved.exit_code,
            error: saved.error,
            restarts: saved.restarts,
            failures: saved.failures,
            created,
            started,
            finished,
            up_since: saved.up_for.map(age::ago),
            streams: streams.filter_map(|(number, fd)| Some((number, sys::take_kept(fd)?))).collect(),
            cleaning: saved.cleaning,
            oom_killed: saved.oom_killed,
            paused: saved.paused,
            health: saved.health,
            start_again: saved.start_again,
            planned: saved.planned,
            preparing: saved.preparing,
            noted: saved.noted,
            retiring: saved.retiring,
            removing: saved.removing,
            removers: saved.removers,
        }
    }
}

/// A [`Container`], with descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    id: String,
    spec: ContainerSpec,
    state: State,
    pid: i32,
    exit_code: i32,
    error: String,
    restarts: u32,
    failures: u32,
    times: (u64, u64, u64),
    up_for: Option<u64>,
    streams: Vec<(u8, RawFd)>,
    cleaning: Option<i32>,
    oom_killed: bool,
    paused: bool,
    health: String,
    start_again: bool,
    planned: Option<Box<ContainerSpec>>,
    preparing: bool,
    noted: bool,
    retiring: bool,
    removing: bool,
    removers: Vec<Waiting>,
}

impl Saved {
    /// Those that must stay open.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.streams.iter().map(|(_, stream)| *stream)
    }
}

/// All containers, by id. A name that is taken is not given again.
#[derive(Debug, Default)]
pub(super) struct Containers(BTreeMap<String, Container>);

impl Containers {
    /// Adds one, unless its name is taken.
    pub(super) fn insert(&mut self, container: Container) -> Result<(), EngineError> {
        let name = &container.spec.name;
        if let Some(other) = self.named(name) {
            return Err(EngineError::Conflict(format!(
                "the container name \"/{name}\" is already in use by container \"{}\": remove or rename that container",
                other.id
            )));
        }
        self.0.insert(container.id.clone(), container);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Container> {
        self.0.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Container> {
        self.0.get_mut(id)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Container> {
        self.iter().find(|container| container.spec.name == name)
    }

    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut Container> {
        self.0.values_mut().find(|container| container.spec.name == name)
    }

    /// The id of the one whose first process this is.
    pub(super) fn of_process(&self, pid: i32) -> Option<String> {
        self.iter().find(|container| container.pid == pid).map(|container| container.id.clone())
    }

    /// The id of one by its id, its name or the unique beginning of its id.
    pub(super) fn find(&self, name: &str) -> Result<String, EngineError> {
        let name = name.trim_start_matches('/');
        if self.0.contains_key(name) {
            return Ok(name.to_owned());
        }
        if let Some(container) = self.named(name) {
            return Ok(container.id.clone());
        }
        let mut found = self.0.keys().filter(|id| !name.is_empty() && id.starts_with(name));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id.clone()),
            (Some(_), Some(_)) => {
                Err(EngineError::BadRequest(format!("{name} is the beginning of several ids")))
            }
            _ => Err(EngineError::NoSuchContainer(name.to_owned())),
        }
    }

    /// The same for one that is to be changed.
    pub(super) fn find_mut(&mut self, name: &str) -> Result<&mut Container, EngineError> {
        let id = self.find(name)?;
        self.get_mut(&id).ok_or_else(|| EngineError::NoSuchContainer(name.to_owned()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Container> {
        self.0.values()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn save(&self) -> Vec<Saved> {
        self.iter().map(Container::save).collect()
    }

    pub(super) fn restore(saved: Vec<Saved>) -> Containers {
        let containers = saved.into_iter().map(Container::restore);
        Containers(containers.map(|container| (container.id.clone(), container)).collect())
    }
}
