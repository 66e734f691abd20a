//! What clients ask, one arm a request.

use super::Supervisor;
use super::clients::Waiting;
use super::ending;
use super::jobs::Purpose;
use super::table::Container;
use super::timers::Timer;
use super::waiters::Until;
use corral_engine::core::{Streams, cgroup};
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::protocol::{Order, Reply, Request, VERSION};
use corral_engine::spec::{ContainerSpec, Endpoint, ExecSpec, Limits, Past};
use corral_engine::sys::signals;
use corral_plan::lifecycle::{Event, State};
use serde_json::json;
use std::os::fd::OwnedFd;

/// A reply now, or none yet.
pub(super) type Answered = Result<Option<Reply>, EngineError>;

impl Supervisor {
    /// Does what is asked, or says why not. A reply may come later.
    pub(super) fn handle(&mut self, caller: Waiting, request: Request, descriptors: Vec<OwnedFd>) {
        let result = match request {
            Request::Attach { version } => self.handle_attach(caller, version),
            Request::List => return self.handle_list(caller),
            Request::Inspect { container } => self.handle_inspect(&container),
            Request::Exec { container, spec } => self.handle_exec(caller, &container, *spec, descriptors),
            Request::Boot => Ok(Some(Reply::Value(json!(self.trace.spans)))),
            Request::Waiting => Ok(Some(Reply::Value(json!(self.waiting())))),
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
                self.clients.answer(caller, Reply::Done, &[]);
                return self.handle_power(ending::power(action), force);
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

    /// What is asked of one container.
    fn handle_container(&mut self, caller: Waiting, request: Request) -> Answered {
        match request {
            Request::Create { id, spec, past } => self.handle_create(id, *spec, past.as_ref()),
            Request::Start { container } => self.handle_start(caller, &container),
            Request::Stop { container, timeout } => self.handle_stop(caller, &container, timeout),
            Request::Restart { container, timeout } => self.handle_restart(caller, &container, timeout),
            Request::Kill { container, signal } => self.handle_kill(&container, &signal),
            Request::Remove { container, force } => self.handle_remove(caller, &container, force),
            Request::Rename { container, name } => self.handle_rename(&container, &name),
            Request::Pause { container, pause } => self.handle_pause(&container, pause),
            Request::Update { container, limits, restart } => self.handle_update(&container, limits, restart),
            Request::Health { container, status } => self.handle_health(&container, &status),
            Request::Connect { container, endpoint } => self.handle_connect(caller, &container, *endpoint),
            Request::Disconnect { container, network } => {
                self.handle_disconnect(caller, &container, &network)
            }
            Request::NotPrepared { container, problem } => self.handle_not_prepared(&container, problem),
            Request::Prepared { container, result } => self.handle_prepared(&container, result),
            Request::CloseStdin { container } => {
                let container = self.containers.find_mut(&container)?;
                container.streams.retain(|(stream, _)| *stream != 0);
                Ok(Some(Reply::Done))
            }
            other => Err(EngineError::BadRequest(format!("{other:?} is not asked of a container"))),
        }
    }

    #[cfg(feature = "test-hooks")]
    #[expect(clippy::panic, reason = "this is the bug that tests ask for")]
    fn handle_panic(&mut self, caller: Waiting) -> Answered {
        self.clients.answer(caller, Reply::Done, &[]);
        panic!("a test asked for it");
    }

    #[cfg(not(feature = "test-hooks"))]
    #[expect(clippy::unused_self, reason = "with the feature it answers")]
    fn handle_panic(&mut self, _: Waiting) -> Answered {
        Err(EngineError::BadRequest("only a build for tests has bugs on request".to_owned()))
    }

    fn handle_status(&self) -> Reply {
        let (helpers, execs) = self.jobs.count();
        Reply::Value(json!({
            "containers": self.containers.len(), "helpers": helpers, "execs": execs,
            "uptime_seconds": self.started.elapsed().as_secs(), "daemon_pid": self.daemon.pid,
            "resumed": self.resumed,
        }))
    }

    fn handle_attach(&mut self, caller: Waiting, version: u32) -> Answered {
        if version != VERSION {
            return Err(EngineError::BadRequest(format!("PID 1 speaks version {VERSION}, not {version}")));
        }
        self.attach(caller.connection);
        Ok(Some(Reply::Done))
    }

    fn handle_list(&mut self, caller: Waiting) {
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
            return Err(EngineError::Conflict(format!("{} is a service of this machine", spec.name)));
        }
        let container = Container::new(id.clone(), spec);
        self.create(match past {
            Some(past) => container.with_past(past),
            None => container,
        })?;
        Ok(Some(Reply::Created { id }))
    }

    fn handle_start(&mut self, caller: Waiting, name: &str) -> Answered {
        let container = self.containers.find_mut(name)?;
        if container.paused {
            return Err(EngineError::Conflict(format!("container {name} is paused: unpause it instead")));
        }
        if container.preparing {
            let id = container.id.clone();
            self.wait_until(&id, caller, Until::Started);
            self.hurry(&id);
            return Ok(None);
        }
        if matches!(container.state, State::Running | State::Starting) && container.cleaning.is_none() {
            return Err(EngineError::NotModified(format!("{name} is running")));
        }
        let id = container.id.clone();
        self.wait_until(&id, caller, Until::Started);
        let Some(container) = self.containers.get_mut(&id) else { return Ok(None) };
        if container.is_down() {
            container.restarts = 0;
            self.timers.clear(&Timer::PauseOver(id.clone()));
            self.happen(&id, Event::Start);
        } else {
            container.start_again = true;
        }
        Ok(None)
    }

    fn handle_stop(&mut self, caller: Waiting, name: &str, timeout: Option<u64>) -> Answered {
        let id = self.containers.find(name)?;
        let Some(container) = self.containers.get_mut(&id) else { return Ok(None) };
        let is_up = !container.is_down();
        if !is_up && container.state != State::Restarting {
            return Err(EngineError::NotModified(format!("{name} is not running")));
        }
        if std::mem::take(&mut container.paused) {
            // What is frozen cannot end.
            let _ = cgroup::freeze(&id, false);
        }
        self.wait_until(&id, caller, Until::Stopped);
        self.timers.clear(&Timer::PauseOver(id.clone()));
        self.happen(&id, Event::Stop);
        if is_up {
            self.ask_to_stop(&id, timeout);
        }
        self.settle(&id, &Ok(()));
        Ok(None)
    }

    fn handle_restart(&mut self, caller: Waiting, name: &str, timeout: Option<u64>) -> Answered {
        let id = self.containers.find(name)?;
        let Some(container) = self.containers.get_mut(&id) else { return Ok(None) };
        if container.is_down() || container.preparing {
            return self.handle_start(caller, name);
        }
        if std::mem::take(&mut container.paused) {
            let _ = cgroup::freeze(&id, false);
        }
        container.start_again = true;
        self.wait_until(&id, caller, Until::Started);
        self.happen(&id, Event::Stop);
        self.ask_to_stop(&id, timeout);
        Ok(None)
    }

    fn handle_kill(&mut self, name: &str, signal: &str) -> Answered {
        let number = signals::parse(signal)
            .ok_or_else(|| EngineError::BadRequest(format!("{signal} is not a signal")))?;
        let container = self.containers.find_mut(name)?;
        if container.pid == 0 {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        }
        let (id, pid) = (container.id.clone(), container.pid);
        let is_last = number == 9 || signals::parse(&container.spec.stop_signal) == Some(number);
        if is_last {
            // As in Docker: what somebody kills is not started again by its policy.
            self.happen(&id, Event::Stop);
        }
        signals::send(pid, number)
            .map_err(|error| EngineError::Failed(format!("sending signal {number}: {error}")))?;
        self.tell(&id, "kill", Some(("signal", &number.to_string())));
        Ok(Some(Reply::Done))
    }

    fn handle_remove(&mut self, caller: Waiting, name: &str, force: bool) -> Answered {
        let container = self.containers.find_mut(name)?;
        let id = container.id.clone();
        if !container.is_down() && !force {
            return Err(EngineError::Conflict(format!(
                "cannot remove container {name:?}: container is {}: stop it first, or use force",
                container.status().word()
            )));
        }
        container.removers.push(caller);
        container.start_again = false;
        let pid = container.pid;
        if !container.is_down() {
            self.happen(&id, Event::Stop);
            if pid > 0 {
                let _ = signals::send(pid, 9);
            }
        }
        self.timers.clear(&Timer::PauseOver(id.clone()));
        self.remove_if_unwanted(&id);
        Ok(None)
    }

    fn handle_rename(&mut self, name: &str, new: &str) -> Answered {
        let id = self.containers.find(name)?;
        let is_taken = self.containers.iter().any(|other| other.spec.name == new && other.id != id);
        if is_taken || self.resolved.plan.get(new).is_some() {
            return Err(EngineError::Conflict(format!("the container name \"/{new}\" is already in use")));
        }
        let container = self.containers.find_mut(&id)?;
        if container.planned.is_some() {
            return Err(EngineError::Conflict(format!(
                "{name} is a service of this machine: it keeps its name"
            )));
        }
        let old = std::mem::replace(&mut container.spec.name, new.to_owned());
        self.tell(&id, "rename", Some(("oldName", &format!("/{old}"))));
        Ok(Some(Reply::Done))
    }

    fn handle_pause(&mut self, name: &str, pause: bool) -> Answered {
        let container = self.containers.find_mut(name)?;
        let id = container.id.clone();
        if container.state != State::Running || container.pid == 0 {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        }
        if container.paused == pause {
            let word = if pause { "already" } else { "not" };
            return Err(EngineError::Conflict(format!("container {name} is {word} paused")));
        }
        cgroup::freeze(&id, pause)
            .map_err(|error| EngineError::Failed(format!("pausing {name}: {error}")))?;
        container.paused = pause;
        self.tell(&id, if pause { "pause" } else { "unpause" }, None);
        Ok(Some(Reply::Done))
    }

    fn handle_update(
        &mut self,
        name: &str,
        limits: Option<Limits>,
        restart: Option<(String, u32)>,
    ) -> Answered {
        let container = self.containers.find_mut(name)?;
        let id = container.id.clone();
        if let Some(limits) = limits {
            if container.pid > 0 {
                cgroup::limit(&id, &limits)
                    .map_err(|error| EngineError::Failed(format!("limiting {name}: {error}")))?;
            }
            container.spec.limits = limits;
        }
        if let Some((policy, limit)) = restart {
            (container.spec.restart, container.spec.restart_limit) = (policy, limit);
        }
        self.tell(&id, "update", None);
        Ok(Some(Reply::Done))
    }

    fn handle_health(&mut self, name: &str, status: &str) -> Answered {
        let container = self.containers.find_mut(name)?;
        let id = container.id.clone();
        if container.health != status && container.pid > 0 {
            status.clone_into(&mut container.health);
            self.tell(&id, &format!("health_status: {status}"), None);
        }
        Ok(Some(Reply::Done))
    }

    fn handle_connect(&mut self, caller: Waiting, name: &str, endpoint: Endpoint) -> Answered {
        let container = self.containers.find_mut(name)?;
        if container.spec.endpoints.iter().any(|known| known.network_id == endpoint.network_id) {
            return Err(EngineError::Conflict(format!(
                "container {name} is in network {} already",
                endpoint.network
            )));
        }
        container.spec.endpoints.push(endpoint.clone());
        let (id, pid) = (container.id.clone(), container.pid);
        self.tell(&id, "update", None);
        self.change_network(
            caller,
            Order::Network { pid, connect: Some(Box::new(endpoint)), disconnect: None },
        )
    }

    fn handle_disconnect(&mut self, caller: Waiting, name: &str, network: &str) -> Answered {
        let container = self.containers.find_mut(name)?;
        let place = container.spec.endpoints.iter().position(|known| known.network_id == network);
        let Some(place) = place else {
            return Err(EngineError::NotFound(format!("container {name} is not in that network")));
        };
        let gone = container.spec.endpoints.remove(place);
        let (id, pid) = (container.id.clone(), container.pid);
        self.tell(&id, "update", None);
        self.change_network(caller, Order::Network { pid, connect: None, disconnect: Some(Box::new(gone)) })
    }

    /// Changes the networks of a container that runs; of another there is nothing to change.
    fn change_network(&mut self, caller: Waiting, order: Order) -> Answered {
        if matches!(order, Order::Network { pid: 0, .. }) {
            return Ok(Some(Reply::Done));
        }
        self.start_job(Purpose::Network { caller }, &order, Streams::default()).map_err(no_helper)?;
        Ok(None)
    }

    fn handle_exec(
        &mut self,
        caller: Waiting,
        name: &str,
        spec: ExecSpec,
        descriptors: Vec<OwnedFd>,
    ) -> Answered {
        let container = self.containers.find_mut(name)?;
        if container.state != State::Running {
            return Err(EngineError::Conflict(format!("container {name} is not running")));
        }
        if container.paused {
            return Err(EngineError::Conflict(format!("container {name} is paused: unpause it first")));
        }
        let id = container.id.clone();
        let mut descriptors = descriptors.into_iter();
        let streams =
            Streams { stdin: descriptors.next(), stdout: descriptors.next(), stderr: descriptors.next() };
        let order = Order::Exec { id, spec: Box::new(spec) };
        self.start_job(Purpose::Exec { exec: new_id(), caller: Some(caller) }, &order, streams)
            .map_err(no_helper)?;
        Ok(None)
    }
}

fn no_helper(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("starting a helper: {error}"))
}
