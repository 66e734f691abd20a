//! Containers through their life. Requests of clients and events of processes and helpers go into
//! the state machine of `lifecycle`. Its effects are carried out here.

use super::clients::Caller;
use super::container::Container;
use super::jobs::Purpose;
use super::supervisor::Supervisor;
use super::timers::Timer;
use crate::lifecycle::{Change, Effect, Event, Outcome, Refusal, Request, Stop};
use corral_engine::error::{EngineError, Failure};
use corral_engine::pid1::{Streams, cgroup};
use corral_engine::protocol::{Action, Event as DaemonEvent, HelperRequest, Join, Reply};
use corral_engine::signal::Signal;
use corral_engine::spec::{ContainerSpec, Grace};
use corral_engine::time;
use corral_machine::console::log;
use std::time::Duration;

impl Supervisor {
    /// Adds a container to the table.
    pub(super) fn create(&mut self, container: Container) -> Result<(), EngineError> {
        let id = container.id().to_owned();
        self.containers.insert(container)?;
        self.emit(&id, Action::Create);
        Ok(())
    }

    /// A client's request; the answer follows when it is done.
    pub(super) fn request(
        &mut self,
        client: Caller,
        name: &str,
        request: Request,
    ) -> Result<(), EngineError> {
        let container = self.containers.find_mut(name)?;
        let (id, rules) = (container.id().to_owned(), container.rules());
        let effects = container.life.request(client, request, rules);
        let effects = effects.map_err(|refusal| refused(name, container, refusal))?;
        if matches!(request, Request::Stop(_) | Request::Restart(_)) {
            container.thaw();
        }
        self.carry_out(&id, effects);
        Ok(())
    }

    /// Something came to a container.
    pub(super) fn handle_event(&mut self, id: &str, event: Event) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let rules = container.rules();
        let effects = container.life.handle(event, rules);
        self.carry_out(id, effects);
    }

    fn carry_out(&mut self, id: &str, effects: Vec<Effect<Caller>>) {
        for effect in effects {
            match effect {
                Effect::Prepare => self.prepare(id),
                Effect::HurryPreparation => {
                    self.clients.broadcast(&DaemonEvent::TryAgain { id: id.to_owned() }, &[]);
                }
                Effect::CancelPreparation => self.cancel_preparation(id),
                Effect::Launch => self.launch(id),
                Effect::Signal(how) => self.signal(id, how),
                Effect::Kill => self.kill(id),
                Effect::CleanUp => self.clean_up(id),
                Effect::SetBackoff(time) => {
                    self.timers.set(time, Timer::BackoffOver(id.to_owned()));
                }
                Effect::ClearBackoff => self.timers.clear(&Timer::BackoffOver(id.to_owned())),
                Effect::ClearGrace => self.timers.clear(&Timer::GraceOver(id.to_owned())),
                // In a shutdown nothing starts any more.
                Effect::StartAgain if self.shutdown.is_some() => {}
                Effect::StartAgain => self.handle_event(id, Event::Start),
                Effect::Report(change) => self.report(id, change),
                Effect::Answer(client, outcome) => self.answer_outcome(id, client, outcome),
                Effect::Forget { with_files } => self.forget(id, with_files),
            }
        }
    }

    fn launch(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let join = match self.join(container.spec()) {
            Ok(join) => join,
            Err(error) => return self.launch_failed(id, &Failure::other(error.to_string())),
        };
        let Some(container) = self.containers.get_mut(id) else { return };
        let request = HelperRequest::Launch {
            id: id.to_owned(),
            spec: Box::new(container.spec().clone()),
            join,
        };
        let streams = container.begin();
        self.offer_streams(id);
        if let Err(error) = self.start_job(Purpose::Launch { id: id.to_owned() }, &request, streams)
        {
            self.launch_failed(id, &Failure::other(format!("starting a helper: {error}")));
        }
    }

    /// The first processes of the containers whose namespaces one shares: these must run.
    fn join(&self, spec: &ContainerSpec) -> Result<Join, EngineError> {
        let pid = |name: &str| {
            if name.is_empty() {
                return Ok(None);
            }
            let other = self.containers.find(name).ok().and_then(|id| self.containers.get(&id));
            other.and_then(Container::pid).map(Some).ok_or_else(|| {
                EngineError::Conflict(format!(
                    "container {name}, whose namespace it shares, is not running"
                ))
            })
        };
        Ok(Join {
            network: pid(&spec.network_of)?,
            pid: pid(&spec.pid_of)?,
            ipc: pid(&spec.ipc_of)?,
        })
    }

    /// The first process runs its program.
    pub(super) fn launched(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.started();
        }
        self.handle_event(id, Event::Started);
    }

    /// It could not be prepared, created or started.
    pub(super) fn launch_failed(&mut self, id: &str, failure: &Failure) {
        let Some(container) = self.containers.get_mut(id) else { return };
        log(&format!("{}: {failure}", container.name()));
        container.failed(failure);
        self.handle_event(id, Event::LaunchFailed);
    }

    /// The first process ended.
    pub(super) fn process_ended(&mut self, id: &str, code: i32) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let was_stable = container.ended(code);
        self.handle_event(id, Event::Ended { code, was_stable });
    }

    /// The rest of the container follows its first process, in a helper if there is any.
    fn clean_up(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let keep_children = container.spec().keep_children;
        if !keep_children && cgroup::forget_empty(id) {
            return self.cleaned(id);
        }
        let request = HelperRequest::Cleanup { id: id.to_owned(), keep_children, remove: false };
        let purpose = Purpose::Cleanup { id: id.to_owned() };
        if let Err(error) = self.start_job(purpose, &request, Streams::default()) {
            log(&format!("cleaning up: {error}"));
            self.cleaned(id);
        }
    }

    /// Nothing of the ended container is left.
    pub(super) fn cleaned(&mut self, id: &str) {
        if self.clients.is_attached()
            && let Some(container) = self.containers.get_mut(id)
        {
            container.close_streams();
        }
        self.handle_event(id, Event::CleanedUp);
    }

    /// Sends the stop signal, and sets the time when the kill follows.
    fn signal(&mut self, id: &str, how: Stop) {
        let Some(container) = self.containers.get(id) else { return };
        if let Err(error) = container.signal(container.spec().stop_signal) {
            log(&format!("stopping {}: {error}", container.name()));
        }
        let timer = Timer::GraceOver(id.to_owned());
        match grace(container, how) {
            Grace::Limited(time) => self.timers.set(time, timer),
            Grace::Unlimited => self.timers.clear(&timer),
        }
    }

    /// The time between the stop signal and the kill is over. The owner may want to know which
    /// programs do not end by themselves: each makes a shutdown longer.
    pub(super) fn grace_over(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let how = container.life.stop_in_progress().filter(|_| container.pid().is_some());
        if let Some(Grace::Limited(time)) = how.map(|how| grace(container, how))
            && !time.is_zero()
        {
            log(&format!("{} did not stop within {} s: killed", container.name(), time.as_secs()));
        }
        self.handle_event(id, Event::GraceOver);
    }

    fn kill(&self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        if let Err(error) = container.signal(Signal::KILL) {
            log(&format!("killing {}: {error}", container.name()));
        }
    }

    fn report(&mut self, id: &str, change: Change) {
        let Some(container) = self.containers.get(id) else { return };
        match change {
            Change::Started => self.emit(id, Action::Start),
            Change::Died => {
                if container.was_oom_killed() {
                    self.emit(id, Action::Oom);
                }
                self.emit(id, Action::Die);
            }
            Change::Settled => self.emit(id, Action::Known),
            Change::Destroyed => self.emit(id, Action::Destroy),
        }
    }

    /// The answer of a client that waited for a container, which may be forgotten by now.
    fn answer_outcome(&mut self, id: &str, client: Caller, outcome: Outcome) {
        let container = self.containers.get(id);
        let name = container.map_or(id, Container::name);
        let error = match outcome {
            Outcome::Done => None,
            Outcome::NotStarted => {
                let failure = container.and_then(Container::failure);
                let ended = || Failure::other("it exited while starting");
                Some(EngineError::StartFailed(failure.unwrap_or_else(ended)))
            }
            Outcome::Stopped => {
                let failure = Failure::other(format!("{name} was stopped by a later request"));
                Some(EngineError::StartFailed(failure))
            }
            Outcome::Removed => Some(EngineError::NoSuchContainer(name.to_owned())),
        };
        self.clients.answer(client, error.map_or(Reply::Done, Reply::Error), &[]);
    }

    /// Takes a container out of the table, and its files off the disk if it was replaced. What its
    /// definition keeps lives on: the user's containers outlive a new definition of dockerd.
    fn forget(&mut self, id: &str, with_files: bool) {
        let keep_children = self.containers.get(id).is_some_and(|it| it.spec().keep_children);
        self.containers.remove(id);
        if !with_files {
            return;
        }
        let request = HelperRequest::Cleanup { id: id.to_owned(), keep_children, remove: true };
        if let Err(error) = self.start_job(Purpose::Remove, &request, Streams::default()) {
            log(&format!("removing a container: {error}"));
        }
    }

    /// Sends what a container did to the engine daemon, which has the clients that follow the
    /// events.
    pub(super) fn emit(&mut self, id: &str, action: Action) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let definition = container.take_definition(action == Action::Known);
        let event = DaemonEvent::Container {
            id: id.to_owned(),
            action,
            status: Box::new(container.status()),
            definition: definition.map(Box::new),
            time: u64::try_from(time::now().as_millis()).unwrap_or(0),
        };
        self.clients.broadcast(&event, &[]);
    }
}

/// How long a container has to stop.
fn grace(container: &Container, how: Stop) -> Grace {
    match how {
        Stop::AsDefined => container.spec().stop_timeout,
        Stop::Within(grace) => grace,
        Stop::Kill => Grace::Limited(Duration::ZERO),
    }
}

fn refused(name: &str, container: &Container, refusal: Refusal) -> EngineError {
    match refusal {
        Refusal::RunsAlready => EngineError::NotModified(format!("{name} is running")),
        Refusal::IsDown => EngineError::NotModified(format!("{name} is not running")),
        Refusal::IsUp => EngineError::Conflict(format!(
            "cannot remove container \"/{}\": container is {}: stop the container before removing \
             or force remove",
            container.spec().name,
            container.status().word()
        )),
        Refusal::IsBeingRemoved if container.life.is_replaced() => EngineError::Conflict(format!(
            "{name} is being replaced by a new configuration, which starts it by itself"
        )),
        Refusal::IsBeingRemoved => {
            EngineError::Conflict(format!("container {name} is being removed"))
        }
    }
}
