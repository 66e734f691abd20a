//! Containers through their life: every event goes through `plan::lifecycle`, and what that says is done here.

use super::jobs::Purpose;
use super::table::{Container, millis};
use super::{Supervisor, Timer};
use crate::boot::say;
use corral_engine::core::Streams;
use corral_engine::error::EngineError;
use corral_engine::protocol::{Event as News, Order};
use corral_engine::spec::ContainerSpec;
use corral_engine::sys::signals;
use corral_plan::lifecycle::{self, Action, Event, State};
use corral_plan::restart;
use rustix::pipe::{PipeFlags, pipe_with};
use std::time::{Duration, Instant};

impl Supervisor {
    /// Adds a container to the table.
    pub(super) fn create(&mut self, spec: ContainerSpec) -> Result<String, EngineError> {
        if !spec.name.is_empty() && self.containers.values().any(|other| other.spec.name == spec.name) {
            return Err(EngineError::Conflict(format!("the name {} is in use", spec.name)));
        }
        let container = Container::new(spec);
        let id = container.id.clone();
        self.containers.insert(id.clone(), container);
        self.tell(&id, "create", None);
        Ok(id)
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
            Action::Pause(pause) => self.set_timer(pause, Timer::PauseOver(id.to_owned())),
        }
    }

    fn launch(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.error.clear();
        let order = Order::Launch { id: id.to_owned(), spec: Box::new(container.spec.clone()) };
        let mut streams = Streams::default();
        if let (Ok((out, stdout)), Ok((err, stderr))) =
            (pipe_with(PipeFlags::CLOEXEC), pipe_with(PipeFlags::CLOEXEC))
        {
            container.streams = vec![(1, out), (2, err)];
            (streams.stdout, streams.stderr) = (Some(stdout), Some(stderr));
        }
        self.offer_streams(id);
        if let Err(error) = self.start_job(Purpose::Launch { id: id.to_owned() }, &order, streams) {
            self.launch_failed(id, &format!("starting a helper: {error}"));
        }
    }

    /// The first process runs.
    pub(super) fn launched(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.started = millis();
            container.up_since = Some(Instant::now());
        }
        self.happen(id, Event::Started);
        self.tell(id, "start", None);
    }

    /// A helper could not make the container, or could not start it.
    pub(super) fn launch_failed(&mut self, id: &str, message: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        say(&format!("{}: {message}", container.spec.name));
        message.clone_into(&mut container.error);
        container.failures += 1;
        container.exit_code = 127;
        container.finished = millis();
        if container.pid > 0 {
            // It waits to be started, and never will be: its end comes as any other.
            let _ = signals::send(container.pid, 9);
            return;
        }
        self.happen(id, Event::StartFailed);
        self.tell(id, "die", Some(127));
        self.remove_if_retired(id);
    }

    /// The first process ended: the rest of the container follows, in a helper.
    pub(super) fn process_ended(&mut self, id: &str, code: i32) {
        self.clear_timer(&Timer::GraceOver(id.to_owned()));
        let Some(container) = self.containers.get_mut(id) else { return };
        container.pid = 0;
        container.exit_code = code;
        container.finished = millis();
        container.cleaning = Some(code);
        let stable = container.up_since.take().is_some_and(|since| since.elapsed() >= restart::STABLE);
        container.failures = if stable { 0 } else { container.failures + 1 };
        let order = Order::Cleanup {
            id: id.to_owned(),
            name: container.spec.name.clone(),
            keep_children: container.spec.keep_children,
            remove: false,
        };
        self.tell(id, "die", Some(code));
        if let Err(error) = self.start_job(Purpose::Cleanup { id: id.to_owned() }, &order, Streams::default())
        {
            say(&format!("cleaning up: {error}"));
            self.cleaned(id);
        }
    }

    /// Nothing of the ended container is left.
    pub(super) fn cleaned(&mut self, id: &str) {
        let attached = self.is_attached();
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(code) = container.cleaning.take() else { return };
        if attached {
            container.streams.clear();
        }
        let again = std::mem::take(&mut container.start_again);
        self.happen(id, Event::Exited(code));
        if again {
            self.happen(id, Event::Start);
        } else if let Some(container) = self.containers.get_mut(id)
            && container.state == State::Restarting
        {
            container.restarts += 1;
        }
        self.settle(id);
        self.remove_if_retired(id);
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
            return;
        }
        let signal = signals::parse(&container.spec.stop_signal).unwrap_or(15);
        let grace = Duration::from_secs(timeout.unwrap_or(container.spec.stop_timeout));
        if let Err(error) = signals::send(container.pid, signal) {
            say(&format!("stopping {}: {error}", container.spec.name));
        }
        self.set_timer(grace, Timer::GraceOver(id.to_owned()));
    }

    /// It did not end when asked.
    pub(super) fn grace_over(&mut self, id: &str) {
        if let Some(container) = self.containers.get(id).filter(|container| container.pid > 0) {
            let _ = signals::send(container.pid, 9);
        }
    }

    /// Tells the engine daemon, and whoever follows the events there.
    pub(super) fn tell(&mut self, id: &str, action: &str, exit_code: Option<i32>) {
        let Some(container) = self.containers.get(id) else { return };
        let news = News::Container {
            id: id.to_owned(),
            name: container.spec.name.clone(),
            image: container.spec.image.clone(),
            action: action.to_owned(),
            exit_code,
            time: millis(),
        };
        self.broadcast(&news);
    }
}
