//! What clients request, one arm each.

use super::clients::Caller;
use super::container::Container;
use super::jobs::Purpose;
use super::supervisor::Supervisor;
use crate::lifecycle::{self, Event, Stop};
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::pid1::Streams;
use corral_engine::protocol::{Action, HelperRequest, Reply, Request, VERSION};
use corral_engine::signal::Signal;
use corral_engine::spec::{
    ContainerSpec, Endpoint, ExecSpec, Grace, HealthState, Limits, Past, RestartPolicy,
};
use serde_json::json;
use std::os::fd::OwnedFd;

/// A reply now, or none yet.
pub(super) type Answered = Result<Option<Reply>, EngineError>;

impl Supervisor {
    /// Does what is requested, or reports why not. A reply may come later.
    pub(super) fn handle(&mut self, caller: Caller, request: Request, descriptors: Vec<OwnedFd>) {
        let result = match request {
            Request::Attach { version } => self.handle_attach(caller, version),
            Request::List => return self.handle_list(caller),
            Request::Inspect { container } => self.handle_inspect(&container),
            Request::Exec { container, spec } => {
                self.handle_exec(caller, &container, *spec, descriptors)
            }
            Request::Boot => Ok(Some(Reply::Value(json!(self.trace.spans)))),
            Request::Waiting => Ok(Some(Reply::Value(json!(self.waiting())))),
            Request::AwaitConfig => {
                self.reload.await_settled(caller);
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
                self.clients.answer(caller, Reply::Done, &[]);
                return self.handle_power(action, force);
            }
            Request::Status => Ok(Some(self.handle_status())),
            Request::Reexec => {
                self.reexec.get_or_insert_default().callers.push(caller);
                Ok(None)
            }
            Request::Panic => self.handle_panic(caller),
            other => self.handle_container(caller, other),
        };
        match result {
            Ok(Some(reply)) => self.clients.answer(caller, reply, &[]),
            Ok(None) => {}
            Err(error) => self.clients.answer(caller, Reply::Error(error), &[]),
        }
    }

    /// What is requested of one container.
    fn handle_container(&mut self, caller: Caller, request: Request) -> Answered {
        match request {
            Request::Create { id, spec, past } => self.handle_create(id, *spec, past.as_ref()),
            Request::Start { container } => self.handle_start(caller, &container),
            Request::Stop { container, grace } => self.handle_stop(caller, &container, grace),
            Request::Restart { container, grace } => self.handle_restart(caller, &container, grace),
            Request::Kill { container, signal } => self.handle_kill(&container, signal),
            Request::Remove { container, force } => self.handle_remove(caller, &container, force),
            Request::Rename { container, name } => self.handle_rename(&container, &name),
            Request::Pause { container, pause } => self.handle_pause(&container, pause),
            Request::Update { container, limits, restart } => {
                self.handle_update(&container, limits, restart)
            }
            Request::Health { container, health } => self.handle_health(&container, health),
            Request::Connect { container, endpoint } => {
                self.handle_connect(caller, &container, *endpoint)
            }
            Request::Disconnect { container, network } => {
                self.handle_disconnect(caller, &container, &network)
            }
            Request::NotPrepared { container, problem } => {
                self.handle_not_prepared(&container, problem)
            }
            Request::Prepared { container, result } => self.handle_prepared(&container, result),
            Request::CloseStdin { container } => {
                self.containers.find_mut(&container)?.close_stdin();
                Ok(Some(Reply::Done))
            }
            other => {
                Err(EngineError::BadRequest(format!("{other:?} is not a request for a container")))
            }
        }
    }

    #[cfg(feature = "test-hooks")]
    #[expect(clippy::panic, reason = "this is the bug that tests ask for")]
    fn handle_panic(&mut self, caller: Caller) -> Answered {
        self.clients.answer(caller, Reply::Done, &[]);
        panic!("a test asked for it");
    }

    #[cfg(not(feature = "test-hooks"))]
    #[expect(clippy::unused_self, reason = "with the feature it answers")]
    fn handle_panic(&mut self, _: Caller) -> Answered {
        Err(EngineError::BadRequest("only test builds panic on request".to_owned()))
    }

    fn handle_status(&self) -> Reply {
        let (helpers, execs) = self.jobs.count();
        Reply::Value(json!({
            "containers": self.containers.len(), "helpers": helpers, "execs": execs,
            "uptime_seconds": self.started.elapsed().as_secs(), "daemon_pid": self.daemon.pid(),
            "resumed": self.resumed,
        }))
    }

    fn handle_attach(&mut self, caller: Caller, version: u32) -> Answered {
        if version != VERSION {
            return Err(EngineError::BadRequest(format!(
                "PID 1 speaks version {VERSION}, not {version}"
            )));
        }
        self.attach(caller.connection);
        Ok(Some(Reply::Done))
    }

    fn handle_list(&mut self, caller: Caller) {
        let snapshots: Vec<_> = self.containers.iter().map(Container::snapshot).collect();
        for snapshot in snapshots {
            self.clients.answer(caller, Reply::Container(Box::new(snapshot)), &[]);
        }
        self.clients.answer(caller, Reply::Done, &[]);
    }

    fn handle_inspect(&mut self, name: &str) -> Answered {
        let container = self.containers.find_mut(name)?;
        Ok(Some(Reply::Container(Box::new(container.snapshot()))))
    }

    fn handle_create(&mut self, id: String, spec: ContainerSpec, past: Option<&Past>) -> Answered {
        if self.containers.get(&id).is_some() {
            return Ok(Some(Reply::Created { id }));
        }
        if self.resolved.plan.get(&spec.name).is_some() {
            return Err(EngineError::Conflict(format!(
                "{} is a service of this machine",
                spec.name
            )));
        }
        let container = Container::new(id.clone(), spec);
        self.create(match past {
            Some(past) => container.with_past(past),
            None => container,
        })?;
        Ok(Some(Reply::Created { id }))
    }

    fn handle_start(&mut self, caller: Caller, name: &str) -> Answered {
        self.refuse_while_shutting_down()?;
        if self.containers.find_mut(name)?.is_paused() {
            return Err(EngineError::Conflict(format!(
                "container {name} is paused: unpause it instead"
            )));
        }
        self.request(caller, name, lifecycle::Request::Start)?;
        Ok(None)
    }

    fn handle_stop(&mut self, caller: Caller, name: &str, grace: Option<Grace>) -> Answered {
        self.request(caller, name, lifecycle::Request::Stop(stop(grace)))?;
        Ok(None)
    }

    fn handle_restart(&mut self, caller: Caller, name: &str, grace: Option<Grace>) -> Answered {
        self.refuse_while_shutting_down()?;
        self.request(caller, name, lifecycle::Request::Restart(stop(grace)))?;
        Ok(None)
    }

    fn refuse_while_shutting_down(&self) -> Result<(), EngineError> {
        match self.shutdown {
            None => Ok(()),
            Some(_) => Err(EngineError::Conflict("the machine is shutting down".to_owned())),
        }
    }

    fn handle_kill(&mut self, name: &str, signal: Signal) -> Answered {
        let container = self.containers.find_mut(name)?;
        if container.pid().is_none() {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        }
        let id = container.id().to_owned();
        container
            .signal(signal)
            .map_err(|error| EngineError::Failed(format!("sending {signal}: {error}")))?;
        if signal == Signal::KILL || container.spec().stop_signal == signal {
            // As in Docker: its policy does not start again what a client killed.
            self.handle_event(&id, Event::Killed { surely: signal == Signal::KILL });
        }
        self.emit(&id, Action::Kill(signal));
        Ok(Some(Reply::Done))
    }

    fn handle_remove(&mut self, caller: Caller, name: &str, force: bool) -> Answered {
        self.request(caller, name, lifecycle::Request::Remove { force })?;
        Ok(None)
    }

    fn handle_rename(&mut self, name: &str, new: &str) -> Answered {
        let container = self.containers.find_mut(name)?;
        if container.planned().is_some() {
            return Err(EngineError::Conflict(format!(
                "{name} is a service of this machine: it cannot be renamed"
            )));
        }
        let id = container.id().to_owned();
        if self.resolved.plan.get(new).is_some() {
            return Err(EngineError::Conflict(format!("{new} is a service of this machine")));
        }
        let old_name = self.containers.rename(&id, new)?;
        self.emit(&id, Action::Rename { old_name });
        Ok(Some(Reply::Done))
    }

    fn handle_pause(&mut self, name: &str, pause: bool) -> Answered {
        let container = self.containers.find_mut(name)?;
        let id = container.id().to_owned();
        if !container.life.is_running() {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        }
        if container.is_paused() == pause {
            let word = if pause { "already" } else { "not" };
            return Err(EngineError::Conflict(format!("container {name} is {word} paused")));
        }
        container
            .freeze(pause)
            .map_err(|error| EngineError::Failed(format!("pausing {name}: {error}")))?;
        self.emit(&id, if pause { Action::Pause } else { Action::Unpause });
        Ok(Some(Reply::Done))
    }

    fn handle_update(
        &mut self,
        name: &str,
        limits: Option<Limits>,
        restart: Option<RestartPolicy>,
    ) -> Answered {
        let container = self.containers.find_mut(name)?;
        let id = container.id().to_owned();
        if let Some(limits) = limits {
            container
                .limit(limits)
                .map_err(|error| EngineError::Failed(format!("limiting {name}: {error}")))?;
        }
        if let Some(policy) = restart {
            container.set_policy(policy);
        }
        self.emit(&id, Action::Update);
        Ok(Some(Reply::Done))
    }

    fn handle_health(&mut self, name: &str, health: HealthState) -> Answered {
        let container = self.containers.find_mut(name)?;
        let id = container.id().to_owned();
        if container.set_health(health) {
            self.emit(&id, Action::Health(health));
        }
        Ok(Some(Reply::Done))
    }

    fn handle_connect(&mut self, caller: Caller, name: &str, endpoint: Endpoint) -> Answered {
        let container = self.containers.find_mut(name)?;
        container.connect(endpoint.clone())?;
        let (id, pid) = (container.id().to_owned(), container.pid());
        self.emit(&id, Action::Update);
        self.change_network(caller, pid, Some(endpoint), None)
    }

    fn handle_disconnect(&mut self, caller: Caller, name: &str, network: &str) -> Answered {
        let container = self.containers.find_mut(name)?;
        let endpoint = container.disconnect(network)?;
        let (id, pid) = (container.id().to_owned(), container.pid());
        self.emit(&id, Action::Update);
        self.change_network(caller, pid, None, Some(endpoint))
    }

    /// Changes the networks of a container that runs; of another there is nothing to change.
    fn change_network(
        &mut self,
        caller: Caller,
        pid: Option<i32>,
        connect: Option<Endpoint>,
        disconnect: Option<Endpoint>,
    ) -> Answered {
        let Some(pid) = pid else { return Ok(Some(Reply::Done)) };
        let (connect, disconnect) = (connect.map(Box::new), disconnect.map(Box::new));
        let request = HelperRequest::Network { pid, connect, disconnect };
        self.start_job(Purpose::Network { caller }, &request, Streams::default())
            .map_err(no_helper)?;
        Ok(None)
    }

    fn handle_exec(
        &mut self,
        caller: Caller,
        name: &str,
        spec: ExecSpec,
        descriptors: Vec<OwnedFd>,
    ) -> Answered {
        let container = self.containers.find_mut(name)?;
        if !container.life.is_running() {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        }
        if container.is_paused() {
            return Err(EngineError::Conflict(format!(
                "container {name} is paused: unpause it first"
            )));
        }
        let id = container.id().to_owned();
        let mut descriptors = descriptors.into_iter();
        let streams = Streams {
            stdin: descriptors.next(),
            stdout: descriptors.next(),
            stderr: descriptors.next(),
        };
        let request = HelperRequest::Exec { id, spec: Box::new(spec) };
        self.start_job(Purpose::Exec { exec: new_id(), caller: Some(caller) }, &request, streams)
            .map_err(no_helper)?;
        Ok(None)
    }
}

/// With the time that a client gives, or the container's own.
fn stop(grace: Option<Grace>) -> Stop {
    grace.map_or(Stop::AsDefined, Stop::Within)
}

fn no_helper(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("starting a helper: {error}"))
}
