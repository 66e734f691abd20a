//! Containers through their life: every event goes through `plan::lifecycle`, and what that says is done here.

use super::Supervisor;
use super::jobs::Purpose;
use super::table::{Container, millis};
use super::timers::Timer;
use corral_engine::core::{Streams, cgroup};
use corral_engine::error::EngineError;
use corral_engine::protocol::{Join, Order};
use corral_engine::spec::{ContainerSpec, FOREVER};
use corral_engine::sys::signals;
use corral_machine::console::say;
use corral_plan::lifecycle::{self, Action, Event, State};
use corral_plan::restart;
use std::time::{Duration, Instant};

impl Supervisor {
    /// Adds a container to the table.
    pub(super) fn create(&mut self, container: Container) -> Result<(), EngineError> {
        let id = container.id.clone();
        self.containers.insert(container)?;
        self.tell(&id, "create", None);
        Ok(())
    }

    /// Lets an event happen to a container.
    pub(super) fn happen(&mut self, id: &str, event: Event) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let (state, action) = lifecycle::next(container.state, event, container.record());
        container.state = state;
        match action {
            Action::Nothing => {}
            Action::Launch => self.launch(id),
            Action::Signal => self.ask_to_stop(id, None),
            Action::Pause(pause) => self.timers.set(pause, Timer::PauseOver(id.to_owned())),
        }
    }

    pub(super) fn launch(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        if container.spec.wants.is_some() {
            return self.have_prepared(id);
        }
        let join = match self.join(&container.spec) {
            Ok(join) => join,
            Err(error) => return self.launch_failed(id, &error.to_string()),
        };
        let Some(container) = self.containers.get_mut(id) else { return };
        container.error.clear();
        (container.oom_killed, container.paused) = (false, false);
        let order = Order::Launch { id: id.to_owned(), spec: Box::new(container.spec.clone()), join };
        let streams = container.open_streams();
        self.offer_streams(id);
        if let Err(error) = self.start_job(Purpose::Launch { id: id.to_owned() }, &order, streams) {
            self.launch_failed(id, &format!("starting a helper: {error}"));
        }
    }

    /// The first processes of the containers whose namespaces one shares: these must run.
    fn join(&self, spec: &ContainerSpec) -> Result<Join, EngineError> {
        let pid = |name: &str| match self.containers.find(name).ok().and_then(|id| self.containers.get(&id)) {
            _ if name.is_empty() => Ok(0),
            Some(other) if other.pid > 0 => Ok(other.pid),
            _ => Err(EngineError::Conflict(format!(
                "container {name}, whose namespace it shares, does not run"
            ))),
        };
        Ok(Join { network: pid(&spec.network_of)?, pid: pid(&spec.pid_of)?, ipc: pid(&spec.ipc_of)? })
    }

    /// The first process runs.
    pub(super) fn launched(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.started = millis();
            container.up_since = Some(Instant::now());
            if container.spec.health.is_some() {
                "starting".clone_into(&mut container.health);
            }
        }
        self.happen(id, Event::Started);
        self.tell(id, "start", None);
        self.settle(id, &Ok(()));
    }

    /// A helper could not make the container, or could not start it.
    pub(super) fn launch_failed(&mut self, id: &str, message: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        say(&format!("{}: {message}", container.spec.name));
        message.clone_into(&mut container.error);
        container.preparing = false;
        container.failures += 1;
        container.exit_code = 127;
        container.finished = millis();
        if container.pid > 0 {
            // It waits to be started, and never will be: its end comes as any other.
            let _ = signals::send(container.pid, 9);
            return;
        }
        if let Some(wanted) = container.planned.as_ref().filter(|wanted| wanted.wants.is_some()) {
            // What it wanted may be gone by the next start: an image, a port.
            container.spec = ContainerSpec::clone(wanted);
        }
        let again = std::mem::take(&mut container.start_again);
        self.happen(id, Event::StartFailed);
        self.tell(id, "die", None);
        // Who waits for a restart waits for the start that follows.
        let started = if again { Ok(()) } else { Err(EngineError::StartFailed(message.to_owned())) };
        self.settle(id, &started);
        if again {
            self.happen(id, Event::Start);
        }
        self.remove_if_unwanted(id);
    }

    /// The first process ended: the rest of the container follows, in a helper if there is any.
    pub(super) fn process_ended(&mut self, id: &str, code: i32) {
        self.timers.clear(&Timer::GraceOver(id.to_owned()));
        let Some(container) = self.containers.get_mut(id) else { return };
        container.pid = 0;
        container.exit_code = code;
        container.finished = millis();
        container.cleaning = Some(code);
        container.paused = false;
        let stable = container.up_since.take().is_some_and(|since| since.elapsed() >= restart::STABLE);
        container.failures = if stable { 0 } else { container.failures + 1 };
        container.oom_killed = cgroup::had_oom_kill(id);
        if !container.spec.keep_children && cgroup::forget_empty(id) {
            return self.cleaned(id);
        }
        let order =
            Order::Cleanup { id: id.to_owned(), keep_children: container.spec.keep_children, remove: false };
        if let Err(error) = self.start_job(Purpose::Cleanup { id: id.to_owned() }, &order, Streams::default())
        {
            say(&format!("cleaning up: {error}"));
            self.cleaned(id);
        }
    }

    /// Nothing of the ended container is left.
    pub(super) fn cleaned(&mut self, id: &str) {
        let attached = self.clients.is_attached();
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(code) = container.cleaning.take() else { return };
        if attached {
            container.streams.clear();
        }
        let again = std::mem::take(&mut container.start_again);
        let oom = container.oom_killed;
        self.happen(id, Event::Exited(code));
        if oom {
            self.tell(id, "oom", None);
        }
        self.tell(id, "die", None);
        // Whoever waits for a restart waits for the start that follows.
        let started = if again { Ok(()) } else { Err(ended_early()) };
        self.settle(id, &started);
        if again {
            self.happen(id, Event::Start);
        } else if let Some(container) = self.containers.get_mut(id)
            && container.state == State::Restarting
        {
            container.restarts += 1;
        }
        self.remove_if_unwanted(id);
    }

    /// The pause before a restart is over.
    pub(super) fn pause_over(&mut self, id: &str) {
        if self.ending.is_none() {
            self.happen(id, Event::PauseOver);
        }
    }

    /// Sends the stop signal, and sets the time when the final one follows.
    pub(super) fn ask_to_stop(&mut self, id: &str, timeout: Option<u64>) {
        let Some(container) = self.containers.get(id) else { return };
        if container.pid == 0 {
            if container.preparing {
                self.launch_failed(id, "it was stopped before it could be made");
            }
            return;
        }
        let signal = signals::parse(&container.spec.stop_signal).unwrap_or(15);
        let grace = timeout.unwrap_or(container.spec.stop_timeout);
        if let Err(error) = signals::send(container.pid, signal) {
            say(&format!("stopping {}: {error}", container.spec.name));
        }
        let timer = Timer::GraceOver(id.to_owned());
        match grace {
            FOREVER => self.timers.clear(&timer),
            seconds => self.timers.set(Duration::from_secs(seconds), timer),
        }
    }

    /// It did not end when asked.
    pub(super) fn grace_over(&mut self, id: &str) {
        if let Some(container) = self.containers.get(id).filter(|container| container.pid > 0) {
            let _ = signals::send(container.pid, 9);
        }
    }
}

fn ended_early() -> EngineError {
    EngineError::StartFailed("it ended while it was started".to_owned())
}
