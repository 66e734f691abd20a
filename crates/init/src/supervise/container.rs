//! One container, as PID 1 knows it: its definition, its life, its last run and our ends of its
//! streams.

use super::clients::Caller;
use super::moment::Moment;
use crate::lifecycle::{Life, Rules};
use crate::restart;
use corral_engine::error::{EngineError, Failure};
use corral_engine::pid1::{Streams, cgroup};
use corral_engine::signal::Signal;
use corral_engine::spec::{
    ContainerSpec, Endpoint, HealthState, Limits, Past, RestartPolicy, Snapshot, State, Status,
};
use corral_engine::sys::signals;
use corral_engine::{sys, time};
use corral_plan::graph::Progress;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    spec: ContainerSpec,
    /// What the plan defines, if the plan created it and not a client.
    planned: Option<Box<ContainerSpec>>,
    pub(super) life: Life<Caller>,
    run: Run,
    /// Our ends of its streams (0: stdin, 1: stdout or the pty, 2: stderr), kept so that nothing is
    /// lost while the engine daemon is away.
    streams: Vec<(u8, OwnedFd)>,
    /// As a service of the plan it has done what others wait for, and that was acted on.
    completion_handled: bool,
    /// Its definition has changed since it was reported last.
    is_redefined: bool,
}

/// Its last run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Run {
    /// Process id of its first process, while there is one.
    pid: Option<i32>,
    exit_code: i32,
    /// Why it could not be started; or why it is not prepared yet.
    failure: Option<Failure>,
    /// Since 1970, as the next two.
    created: Duration,
    started: Option<Duration>,
    finished: Option<Duration>,
    up_since: Option<Moment>,
    /// The kernel killed it because memory ran out.
    oom_killed: bool,
    paused: bool,
    /// What its check found last, if it has one.
    health: Option<HealthState>,
}

impl Container {
    /// A container that was never started.
    pub(super) fn new(id: String, spec: ContainerSpec) -> Container {
        let health = spec.health.as_ref().map(|_| HealthState::Starting);
        let run = Run { created: time::now(), health, ..Run::default() };
        Container {
            id,
            spec,
            planned: None,
            life: Life::new(),
            run,
            streams: Vec::new(),
            completion_handled: false,
            is_redefined: true,
        }
    }

    /// One that the plan defines.
    pub(super) fn of_plan(id: String, spec: ContainerSpec) -> Container {
        let planned = Some(Box::new(spec.clone()));
        Container { planned, ..Container::new(id, spec) }
    }

    /// One that was there before this boot: it is not started for that.
    pub(super) fn with_past(mut self, past: &Past) -> Container {
        let Past { created, started, finished, exit_code } = *past;
        self.run = Run { created, started, finished, exit_code, ..self.run };
        if started.is_some() {
            self.life = Life::exited();
        }
        self
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(super) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    /// What the plan defines, if the plan created it.
    pub(super) fn planned(&self) -> Option<&ContainerSpec> {
        self.planned.as_deref()
    }

    /// Process id of its first process, while there is one.
    pub(super) fn pid(&self) -> Option<i32> {
        self.run.pid
    }

    pub(super) fn is_paused(&self) -> bool {
        self.run.paused
    }

    /// The kernel killed its last run because memory ran out.
    pub(super) fn was_oom_killed(&self) -> bool {
        self.run.oom_killed
    }

    /// Why it could not be started the last time.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.run.failure.clone()
    }

    pub(super) fn streams(&self) -> &[(u8, OwnedFd)] {
        &self.streams
    }

    /// The part of its definition that decides about its life.
    pub(super) fn rules(&self) -> Rules {
        Rules { policy: self.spec.restart, needs_preparation: self.spec.requirements.is_some() }
    }

    /// Its status, as clients and the engine daemon see it.
    pub(super) fn status(&self) -> Status {
        Status {
            state: self.life.state(),
            paused: self.run.paused,
            pid: self.run.pid,
            exit_code: self.run.exit_code,
            oom_killed: self.run.oom_killed,
            error: self.run.failure.as_ref().map(|failure| failure.message.clone()),
            restarts: self.life.restarts(),
            created: self.run.created,
            started: self.run.started,
            finished: self.run.finished,
            health: self.run.health,
            planned: self.planned.is_some(),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { id: self.id.clone(), spec: self.spec.clone(), status: self.status() }
    }

    /// The plan defines it differently. It does not run again for that; its next run is like it.
    pub(super) fn redefine(&mut self, spec: ContainerSpec) {
        if self.planned().is_some_and(|planned| *planned != spec) {
            self.planned = Some(Box::new(spec.clone()));
            self.define(spec);
        }
    }

    fn define(&mut self, spec: ContainerSpec) {
        self.spec = spec;
        self.is_redefined = true;
    }

    /// Its definition, if that was not reported since it changed; `always` where a client is new.
    pub(super) fn take_definition(&mut self, always: bool) -> Option<ContainerSpec> {
        let is_new = std::mem::take(&mut self.is_redefined);
        (is_new || always).then(|| self.spec.clone())
    }

    /// How far it is, as services that wait for it see it.
    pub(super) fn progress(&self) -> Progress {
        match self.life.state() {
            State::Created | State::Starting if self.run.started.is_none() => Progress::Waiting,
            State::Exited if self.run.exit_code == 0 && self.run.failure.is_none() => {
                Progress::Completed
            }
            // A service that fails again and again must not hold up the others for ever.
            State::Exited | State::Restarting => Progress::Failed,
            _ => match self.run.health {
                Some(HealthState::Healthy) => Progress::Healthy,
                Some(HealthState::Unhealthy) => Progress::Unhealthy,
                Some(HealthState::Starting) | None => Progress::Started,
            },
        }
    }

    /// Its progress was acted on. False if it was before, or if another container takes its place.
    pub(super) fn handle_completion(&mut self) -> bool {
        !self.life.is_replaced() && !std::mem::replace(&mut self.completion_handled, true)
    }

    /// Its next start begins. Our ends of its streams are kept, the others are returned. There are
    /// none for a container with a terminal, which comes with its process. Pipes in its place would
    /// end, and a client that attached would take that for the end of its output.
    pub(super) fn begin(&mut self) -> Streams {
        self.run.failure = None;
        (self.run.oom_killed, self.run.paused) = (false, false);
        self.streams.clear();
        let mut theirs = Streams::default();
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

    /// The engine daemon gets what it requires.
    pub(super) fn begin_preparation(&mut self) {
        self.run.failure = None;
        self.run.oom_killed = false;
    }

    /// The engine daemon could not get it yet.
    pub(super) fn note_delay(&mut self, problem: String) {
        self.run.failure = Some(Failure::other(problem));
    }

    /// What it requires is there.
    pub(super) fn prepared(&mut self, spec: ContainerSpec) {
        self.define(spec);
        self.run.failure = None;
    }

    /// Its first process exists.
    pub(super) fn made(&mut self, pid: i32, terminal: Option<OwnedFd>) {
        self.run.pid = Some(pid);
        if let Some(terminal) = terminal {
            self.streams = vec![(1, terminal)];
        }
    }

    /// Its first process runs its program.
    pub(super) fn started(&mut self) {
        if self.run.pid.is_none() {
            // It has ended already, before its helper reported.
            self.run.started = self.run.finished;
            return;
        }
        self.run.started = Some(time::now());
        self.run.up_since = Some(Moment::now());
        self.run.health = self.spec.health.as_ref().map(|_| HealthState::Starting);
    }

    /// It could not be started.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.run.failure = Some(failure.clone());
        self.run.oom_killed = false;
        self.run.exit_code = failure.kind.exit_code();
        self.run.finished = Some(time::now());
        if let Some(planned) =
            self.planned.as_ref().filter(|planned| planned.requirements.is_some())
        {
            // What it required may be gone by the next start: an image, a port.
            self.define(ContainerSpec::clone(planned));
        }
    }

    /// Its first process ended. True if it had run for some time.
    pub(super) fn ended(&mut self, code: i32) -> bool {
        self.run.pid = None;
        self.run.exit_code = code;
        self.run.finished = Some(time::now());
        self.run.paused = false;
        self.run.oom_killed = cgroup::had_oom_kill(&self.id);
        self.run.up_since.take().is_some_and(|since| since.elapsed() >= restart::STABLE)
    }

    /// Sends a signal to its first process, if there is one.
    pub(super) fn signal(&self, signal: Signal) -> std::io::Result<()> {
        self.pid().map_or(Ok(()), |pid| signals::send(pid, signal))
    }

    /// Freezes its processes, or lets them go on.
    pub(super) fn freeze(&mut self, pause: bool) -> std::io::Result<()> {
        cgroup::freeze(&self.id, pause)?;
        self.run.paused = pause;
        Ok(())
    }

    /// What is frozen cannot end.
    pub(super) fn thaw(&mut self) {
        if self.run.paused {
            let _ = self.freeze(false);
            self.run.paused = false;
        }
    }

    /// Limits it, at once if it runs.
    pub(super) fn limit(&mut self, limits: Limits) -> std::io::Result<()> {
        if self.pid().is_some() {
            cgroup::limit(&self.id, &limits)?;
        }
        self.spec.limits = limits;
        self.is_redefined = true;
        Ok(())
    }

    pub(super) fn set_policy(&mut self, policy: RestartPolicy) {
        self.spec.restart = policy;
        self.is_redefined = true;
    }

    /// What its check found. True if that is new.
    pub(super) fn set_health(&mut self, health: HealthState) -> bool {
        let is_new = self.run.health != Some(health) && self.pid().is_some();
        if is_new {
            self.run.health = Some(health);
        }
        is_new
    }

    /// Sets its new name; returns the old one. Only [`super::table::Containers::rename`] knows
    /// whether the name is free.
    pub(super) fn rename(&mut self, name: &str) -> String {
        self.is_redefined = true;
        std::mem::replace(&mut self.spec.name, name.to_owned())
    }

    pub(super) fn connect(&mut self, endpoint: Endpoint) -> Result<(), EngineError> {
        if self.spec.endpoints.iter().any(|known| known.network_id == endpoint.network_id) {
            return Err(EngineError::Conflict(format!(
                "container {} is in network {} already",
                self.name(),
                endpoint.network
            )));
        }
        self.spec.endpoints.push(endpoint);
        self.is_redefined = true;
        Ok(())
    }

    /// Its endpoint in the network of that id, which it has no more.
    pub(super) fn disconnect(&mut self, network: &str) -> Result<Endpoint, EngineError> {
        let found = self.spec.endpoints.iter().position(|known| known.network_id == network);
        let missing =
            || EngineError::NotFound(format!("container {} is not in that network", self.name()));
        let found = found.ok_or_else(missing)?;
        self.is_redefined = true;
        Ok(self.spec.endpoints.remove(found))
    }

    /// No more input comes.
    pub(super) fn close_stdin(&mut self) {
        self.streams.retain(|(stream, _)| *stream != 0);
    }

    /// The engine daemon has our ends.
    pub(super) fn close_streams(&mut self) {
        self.streams.clear();
    }

    pub(super) fn save(&self) -> Saved {
        Saved {
            id: self.id.clone(),
            spec: self.spec.clone(),
            planned: self.planned.clone(),
            life: self.life.clone(),
            run: self.run.clone(),
            streams: self
                .streams
                .iter()
                .map(|(number, stream)| (*number, stream.as_raw_fd()))
                .collect(),
            completion_handled: self.completion_handled,
            is_redefined: self.is_redefined,
        }
    }

    /// A stream whose descriptor is gone is forgotten.
    pub(super) fn restore(saved: Saved) -> Container {
        let streams = saved.streams.into_iter();
        Container {
            id: saved.id,
            spec: saved.spec,
            planned: saved.planned,
            life: saved.life,
            run: saved.run,
            streams: streams
                .filter_map(|(number, fd)| Some((number, sys::take_kept(fd)?)))
                .collect(),
            completion_handled: saved.completion_handled,
            is_redefined: saved.is_redefined,
        }
    }
}

/// A [`Container`], with descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    id: String,
    spec: ContainerSpec,
    planned: Option<Box<ContainerSpec>>,
    life: Life<Caller>,
    run: Run,
    streams: Vec<(u8, RawFd)>,
    completion_handled: bool,
    is_redefined: bool,
}

impl Saved {
    /// Those that must stay open.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.streams.iter().map(|(_, stream)| *stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_of_the_plan_takes_another_definition_and_one_of_a_client_does_not() {
        let spec = |image: &str| ContainerSpec { image: image.to_owned(), ..Default::default() };
        let mut planned = Container::of_plan("1".to_owned(), spec("a"));
        planned.take_definition(false);
        planned.redefine(spec("a"));
        assert_eq!(planned.take_definition(false), None, "nothing has changed");
        planned.redefine(spec("b"));
        assert_eq!(planned.planned(), Some(&spec("b")));
        assert_eq!(planned.take_definition(false), Some(spec("b")));
        assert_eq!(planned.life.state(), State::Created);
        let mut of_client = Container::new("2".to_owned(), spec("a"));
        of_client.redefine(spec("b"));
        assert_eq!((of_client.planned(), of_client.spec()), (None, &spec("a")));
    }
}
