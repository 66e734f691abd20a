//! What clients ask, one arm a request.

use super::connection::Waiting;
use super::ending;
use super::jobs::Purpose;
use super::{Supervisor, Timer};
use corral_engine::core::Streams;
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::protocol::{Order, Reply, Request, VERSION};
use corral_engine::spec::ExecSpec;
use corral_engine::sys::signals;
use corral_plan::lifecycle::{Event, State};
use serde_json::json;
use std::os::fd::OwnedFd;

/// Somebody who waits until a container has ended (or runs again).
#[derive(Debug)]
pub(super) struct Stopper {
    id: String,
    caller: Waiting,
}

impl Supervisor {
    /// Does what is asked, or says why not. A reply may come later.
    pub(super) fn handle(&mut self, caller: Waiting, request: Request, descriptors: Vec<OwnedFd>) {
        let result = match request {
            Request::Attach { version } => self.handle_attach(caller, version),
            Request::List => return self.handle_list(caller),
            Request::Inspect { container } => self.handle_inspect(&container),
            Request::Create { spec } => self.create(*spec).map(|id| Some(Reply::Created { id })),
            Request::Start { container } => self.handle_start(&container),
            Request::Stop { container, timeout } => self.handle_stop(caller, &container, timeout),
            Request::Restart { container, timeout } => self.handle_restart(caller, &container, timeout),
            Request::Kill { container, signal } => self.handle_kill(&container, &signal),
            Request::Remove { container, force } => self.handle_remove(caller, &container, force),
            Request::Exec { container, spec } => self.handle_exec(caller, &container, *spec, descriptors),
            Request::Boot => Ok(Some(Reply::Value(json!(self.trace.spans)))),
            Request::AwaitConfig => {
                self.handle_await(caller);
                Ok(None)
            }
            Request::Reload => {
                self.handle_reload(caller);
                Ok(None)
            }
            Request::Confirmed => {
                self.handle_confirmed();
                Ok(Some(Reply::Done))
            }
            Request::Power { action, force } => {
                self.answer(caller, Reply::Done, &[]);
                return self.handle_power(ending::power(action), force);
            }
            Request::Status => Ok(Some(Reply::Value(json!({
                "containers": self.containers.len(), "helpers": self.jobs.len(), "execs": self.execs.len(),
                "uptime_seconds": self.started.elapsed().as_secs(), "daemon_pid": self.daemon.pid,
            })))),
        };
        match result {
            Ok(Some(reply)) => self.answer(caller, reply, &[]),
            Ok(None) => {}
            Err(error) => self.answer(caller, Reply::Error(error), &[]),
        }
    }

    fn handle_attach(&mut self, caller: Waiting, version: u32) -> Result<Option<Reply>, EngineError> {
        if version != VERSION {
            return Err(EngineError::BadRequest(format!("PID 1 speaks version {VERSION}, not {version}")));
        }
        self.answer(caller, Reply::Done, &[]);
        self.attach(caller.connection);
        Ok(None)
    }

    fn handle_list(&mut self, caller: Waiting) {
        let snapshots: Vec<_> = self.containers.values().map(super::table::Container::snapshot).collect();
        for snapshot in snapshots {
            self.answer(caller, Reply::Container(Box::new(snapshot)), &[]);
        }
        self.answer(caller, Reply::Done, &[]);
    }

    fn handle_inspect(&self, name: &str) -> Result<Option<Reply>, EngineError> {
        let id = self.find(name)?;
        Ok(self.containers.get(&id).map(|container| Reply::Container(Box::new(container.snapshot()))))
    }

    fn handle_start(&mut self, name: &str) -> Result<Option<Reply>, EngineError> {
        let id = self.find(name)?;
        let Some(container) = self.containers.get_mut(&id) else { return Ok(None) };
        if matches!(container.state, State::Running | State::Starting) && container.cleaning.is_none() {
            return Err(EngineError::NotModified(format!("{name} is running")));
        }
        if container.is_down() {
            container.restarts = 0;
            self.clear_timer(&Timer::PauseOver(id.clone()));
            self.happen(&id, Event::Start);
        } else {
            container.start_again = true;
        }
        Ok(Some(Reply::Done))
    }

    fn handle_stop(
        &mut self,
        caller: Waiting,
        name: &str,
        timeout: Option<u64>,
    ) -> Result<Option<Reply>, EngineError> {
        let id = self.find(name)?;
        let Some(container) = self.containers.get(&id) else { return Ok(None) };
        let is_up = !container.is_down();
        if !is_up && container.state != State::Restarting {
            return Err(EngineError::NotModified(format!("{name} is not running")));
        }
        self.clear_timer(&Timer::PauseOver(id.clone()));
        self.happen(&id, Event::Stop);
        if is_up {
            self.ask_to_stop(&id, timeout);
        }
        self.daemon.stoppers.push(Stopper { id: id.clone(), caller });
        self.settle(&id);
        Ok(None)
    }

    fn handle_restart(
        &mut self,
        caller: Waiting,
        name: &str,
        timeout: Option<u64>,
    ) -> Result<Option<Reply>, EngineError> {
        let id = self.find(name)?;
        let Some(container) = self.containers.get_mut(&id) else { return Ok(None) };
        if container.is_down() {
            return self.handle_start(name);
        }
        container.start_again = true;
        self.handle_stop(caller, name, timeout)
    }

    /// Tells those who waited for the end of a container.
    pub(super) fn settle(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        if !container.is_down() && container.state == State::Stopping {
            return;
        }
        let (done, waiting) =
            std::mem::take(&mut self.daemon.stoppers).into_iter().partition(|stopper| stopper.id == id);
        self.daemon.stoppers = waiting;
        let done: Vec<Stopper> = done;
        for stopper in done {
            self.answer(stopper.caller, Reply::Done, &[]);
        }
    }

    fn handle_kill(&mut self, name: &str, signal: &str) -> Result<Option<Reply>, EngineError> {
        let id = self.find(name)?;
        let number = signals::parse(signal)
            .ok_or_else(|| EngineError::BadRequest(format!("{signal} is not a signal")))?;
        let Some(container) = self.containers.get(&id).filter(|container| container.pid > 0) else {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        };
        let pid = container.pid;
        if [9, 15].contains(&number) {
            // As in Docker: what somebody kills is not started again by its policy.
            self.happen(&id, Event::Stop);
        }
        signals::send(pid, number)
            .map_err(|error| EngineError::Failed(format!("sending signal {number}: {error}")))?;
        Ok(Some(Reply::Done))
    }

    fn handle_remove(
        &mut self,
        caller: Waiting,
        name: &str,
        force: bool,
    ) -> Result<Option<Reply>, EngineError> {
        let id = self.find(name)?;
        let Some(container) = self.containers.get(&id) else { return Ok(None) };
        if !container.is_down() {
            if !force {
                return Err(EngineError::Conflict(format!(
                    "container {name} is running: stop it first, or use force"
                )));
            }
            return Err(EngineError::NotImplemented(
                "removing a running container: stop it first".to_owned(),
            ));
        }
        let name = container.spec.name.clone();
        self.clear_timer(&Timer::PauseOver(id.clone()));
        let order = Order::Cleanup { id: id.clone(), name, keep_children: false, remove: true };
        self.tell(&id, "destroy", None);
        self.start_job(Purpose::Remove { id, caller: Some(caller) }, &order, Streams::default())
            .map_err(|error| EngineError::Failed(format!("starting a helper: {error}")))?;
        Ok(None)
    }

    fn handle_exec(
        &mut self,
        caller: Waiting,
        name: &str,
        spec: ExecSpec,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Reply>, EngineError> {
        let id = self.find(name)?;
        let is_running = self.containers.get(&id).is_some_and(|container| container.state == State::Running);
        if !is_running {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        }
        let mut descriptors = descriptors.into_iter();
        let streams =
            Streams { stdin: descriptors.next(), stdout: descriptors.next(), stderr: descriptors.next() };
        let order = Order::Exec { id, spec: Box::new(spec) };
        self.start_job(Purpose::Exec { exec: new_id(), caller: Some(caller) }, &order, streams)
            .map_err(|error| EngineError::Failed(format!("starting a helper: {error}")))?;
        Ok(None)
    }
}
