//! A new configuration comes into force: services whose definition changed are made anew, those that are not wanted any
//! more end, and the console applies what is its own. A change that waits to be confirmed is taken back in time.

use super::Supervisor;
use super::clients::Waiting;
use super::jobs::Purpose;
use super::table::Container;
use super::timers::Timer;
use crate::boot::resolver::{PATIENCE, Resolver, TAKE_BACK, WITH_KERNEL, note_failure};
use crate::launch;
use anyhow::Result;
use corral_engine::core::Streams;
use corral_engine::error::EngineError;
use corral_engine::protocol::{Order, Reply};
use corral_engine::spec::ExecSpec;
use corral_machine::console::say;
use corral_plan::lifecycle::{Event, State};
use corral_plan::resolved::Resolved;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The containers of cloud-init. What else reads the configuration again is not waited for: it may itself wait for Docker.
const STAGES: [&str; 2] = ["cloud-init", "cloud-init-network"];

/// Who waits for the configuration, and what is to be done when it is there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Reload {
    /// Wait until no source of the boot can change it any more.
    settling: Vec<Waiting>,
    /// Wait until the resolver at work (or the next one) is done.
    callers: Vec<Waiting>,
    /// The console is to apply it.
    apply: bool,
    /// Somebody asked while a resolver was at work: it may have read too early.
    again: bool,
    /// The next one rolls an unconfirmed change back.
    #[serde(default)]
    roll_back: bool,
}

impl Reload {
    /// Keeps those who wait and fulfil a condition.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Waiting) -> bool) {
        self.settling.retain(&is_kept);
        self.callers.retain(&is_kept);
    }
}

impl Supervisor {
    /// Reads the configuration again because a part of the boot said so; the loop goes on meanwhile.
    pub(super) fn start_resolver(&mut self, arguments: &[&str]) {
        if self.resolver.is_some() {
            self.reload.again = true;
            self.reload.roll_back |= arguments.contains(&TAKE_BACK);
            return;
        }
        let arguments: Vec<&str> = arguments.iter().copied().chain([WITH_KERNEL]).collect();
        match Resolver::start(&arguments) {
            Ok(resolver) => {
                self.resolver = Some(resolver);
                self.timers.set(PATIENCE, Timer::ResolverLate);
            }
            Err(error) => self.conclude(Err(error)),
        }
    }

    /// Somebody wants the configuration to come into force now.
    pub(super) fn handle_reload(&mut self, caller: Waiting) {
        self.reload.callers.push(caller);
        self.reload.apply = true;
        self.start_resolver(&[]);
    }

    /// Answered when no source of the boot can change the configuration any more.
    pub(super) fn handle_await(&mut self, caller: Waiting) {
        self.reload.settling.push(caller);
    }

    /// The change stays.
    pub(super) fn handle_confirmed(&mut self) {
        self.resolved.confirm_within = None;
        self.timers.clear(&Timer::ConfirmLate);
    }

    /// Nobody confirmed in time.
    pub(super) fn confirm_late(&mut self) {
        say("configuration: nobody confirmed the change; it is taken back");
        self.reload.apply = true;
        self.start_resolver(&[TAKE_BACK]);
    }

    /// Takes what the resolver says; when it has said all, that is the configuration.
    pub(super) fn hear_resolver(&mut self) {
        if !self.resolver.as_mut().is_some_and(Resolver::read) {
            return;
        }
        let Some(resolver) = self.resolver.take() else { return };
        self.conclude(resolver.finish());
    }

    /// A resolver that takes longer than this is not going to say anything.
    pub(super) fn resolver_late(&mut self) {
        let Some(resolver) = self.resolver.take() else { return };
        self.conclude(Err(resolver.give_up()));
    }

    /// What came of it is the configuration, or what was active stays active; and those who asked are answered.
    fn conclude(&mut self, outcome: Result<Resolved>) {
        self.timers.clear(&Timer::ResolverLate);
        let failure = match outcome {
            Ok(resolved) => {
                self.adopt(resolved);
                None
            }
            Err(error) => {
                note_failure(&error);
                Some(EngineError::Failed(format!("{error:#}; what was active stays active")))
            }
        };
        if std::mem::take(&mut self.reload.again) {
            let roll_back = std::mem::take(&mut self.reload.roll_back);
            self.start_resolver(if roll_back { &[TAKE_BACK] } else { &[] });
            return;
        }
        for caller in std::mem::take(&mut self.reload.callers) {
            let reply = failure.clone().map_or(Reply::Done, Reply::Error);
            self.clients.answer(caller, reply, &[]);
        }
        if std::mem::take(&mut self.reload.apply) && failure.is_none() {
            self.apply_in_console();
        }
    }

    fn adopt(&mut self, resolved: Resolved) {
        let known = &self.resolved.problems;
        let new = resolved.problems.iter().filter(|problem| !known.contains(problem));
        new.for_each(|problem| say(&format!("configuration: {problem}")));
        self.watch_confirmation(resolved.confirm_within);
        self.resolved = resolved;
        self.replace_changed();
    }

    /// Sets the time at which an unconfirmed change is taken back; one that is set already stays.
    pub(super) fn watch_confirmation(&mut self, within: Option<u64>) {
        let is_watched = self.timers.is_set(&Timer::ConfirmLate);
        match within {
            Some(seconds) if !is_watched => {
                say(&format!(
                    "configuration: a change is taken back in {seconds} s unless confirmed (ros config confirm)"
                ));
                self.timers.set(Duration::from_secs(seconds), Timer::ConfirmLate);
            }
            Some(_) => {}
            None => self.timers.clear(&Timer::ConfirmLate),
        }
    }

    /// Ends the containers of the plan that are not what the plan wants any more; `start_services` makes them anew.
    fn replace_changed(&mut self) {
        if self.ending.is_some() {
            return;
        }
        let planned = |container: &&Container| container.planned.is_some() && !container.retiring;
        let outdated: Vec<&Container> =
            self.containers.iter().filter(planned).filter(|container| self.is_outdated(container)).collect();
        let context = &self.resolved.config.rancher.docker.storage_context;
        let mut changed: Vec<String> = outdated.iter().map(|container| container.id.clone()).collect();
        if outdated.iter().any(|container| container.spec.name == *context) {
            // dockerd runs in the file system that goes.
            let dockerd = self.containers.iter().filter(planned).find(|other| other.spec.name == "docker");
            changed.extend(dockerd.map(|container| container.id.clone()).filter(|id| !changed.contains(id)));
        }
        changed.into_iter().for_each(|id| self.retire(&id));
    }

    fn is_outdated(&self, container: &Container) -> bool {
        match self.resolved.plan.get(&container.spec.name) {
            Some(service) => {
                let wanted = launch::container(service, &self.resolved.environment);
                container.planned.as_deref() != Some(&wanted)
            }
            // What has ended does no harm, and may be looked at.
            None => container.state != State::Exited,
        }
    }

    fn retire(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.retiring = true;
        say(&format!("configuration: {} changes", container.spec.name));
        self.timers.clear(&Timer::PauseOver(id.to_owned()));
        self.happen(id, Event::Stop);
        self.remove_if_unwanted(id);
    }

    /// Users, keys, files and mounts are the console's, and it does not end for them: people are logged in there.
    fn apply_in_console(&mut self) {
        let Ok(id) = self.containers.find("console") else { return };
        if self.containers.get(&id).is_none_or(|container| container.state != State::Running) {
            return;
        }
        let spec = ExecSpec {
            args: ["/usr/bin/ros", "config-applied"].map(str::to_owned).to_vec(),
            privileged: true,
            ..ExecSpec::default()
        };
        let purpose = Purpose::Exec { exec: corral_engine::id::new_id(), caller: None };
        let order = Order::Exec { id, spec: Box::new(spec) };
        if let Err(error) = self.start_job(purpose, &order, Streams::default()) {
            say(&format!("applying the configuration in the console: {error}"));
        }
    }

    /// Answers those who wait for the sources of the boot.
    pub(super) fn answer_settled(&mut self) {
        if self.reload.settling.is_empty() || self.resolver.is_some() {
            return;
        }
        let is_planned = |name: &&&str| self.resolved.plan.get(name).is_some();
        let is_settled = STAGES.iter().filter(is_planned).all(|name| self.progress(name).is_over());
        if is_settled {
            for caller in std::mem::take(&mut self.reload.settling) {
                self.clients.answer(caller, Reply::Done, &[]);
            }
        }
    }
}
