//! A new configuration takes effect. Services whose definition changed are recreated, those that it
//! has no more end, and the console applies what is its own. A change that is not confirmed in time
//! is rolled back.

use super::clients::Caller;
use super::container::Container;
use super::jobs::Purpose;
use super::reload::Run;
use super::supervisor::Supervisor;
use super::timers::Timer;
use crate::boot::resolver::{Resolver, TIMEOUT, note_failure};
use crate::container_spec;
use crate::lifecycle::Event;
use anyhow::{Context, Result};
use corral_engine::error::EngineError;
use corral_engine::pid1::Streams;
use corral_engine::protocol::{HelperRequest, Reply};
use corral_engine::spec::{ExecSpec, State};
use corral_machine::console::log;
use corral_plan::resolved::{Resolved, Unconfirmed};
use std::time::Duration;

/// The containers of cloud-init. Other services that read the configuration again are not waited
/// for: such a service may itself wait for Docker.
const STAGES: [&str; 2] = ["cloud-init", "cloud-init-network"];

/// Until a rollback that could not be applied is tried again.
const ANOTHER_TRY: Duration = Duration::from_secs(30);

/// A change that was not confirmed in time is active still, and its owner may see only the console.
fn not_rolled_back() -> String {
    let seconds = ANOTHER_TRY.as_secs();
    format!("an unconfirmed change is not rolled back yet (the next try is in {seconds} s)")
}

impl Supervisor {
    /// Reads the configuration again; the loop goes on meanwhile.
    pub(super) fn reload(&mut self, run: Run, caller: Option<Caller>) {
        if let Some(run) = self.reload.request(run, caller) {
            self.start_resolver(&run);
        }
    }

    pub(super) fn start_resolver(&mut self, run: &Run) {
        match self.reload.start(run) {
            Ok(()) => self.timers.set(TIMEOUT, Timer::ResolverLate),
            Err(error) => self.conclude(Err(error)),
        }
    }

    /// A client wants the configuration to take effect now.
    pub(super) fn handle_reload(&mut self, caller: Caller) {
        self.reload(Run { apply: true, ..Run::default() }, Some(caller));
    }

    /// The change stays.
    pub(super) fn handle_confirmed(&mut self) {
        self.watch_confirmation(None);
        self.resolved.unconfirmed = None;
    }

    /// This change was not confirmed in time.
    pub(super) fn confirm_late(&mut self, change: String) {
        log("configuration: the change was not confirmed; it is rolled back");
        self.reload(Run { roll_back: Some(change), apply: true, built_in: None }, None);
    }

    /// Takes the output of the resolver; when that is complete, it is the configuration.
    pub(super) fn read_resolver(&mut self) {
        if let Some(resolver) = self.reload.read() {
            self.conclude(resolver.finish());
        }
    }

    /// A resolver that takes longer than this is not going to report anything.
    pub(super) fn resolver_late(&mut self) {
        if let Some(resolver) = self.reload.take_late() {
            self.conclude(Err(Resolver::give_up(resolver)));
        }
    }

    /// Takes the result of the resolver as the configuration; on a failure, what was active stays
    /// active, if users can log in with it. Answers the clients that waited.
    fn conclude(&mut self, outcome: Result<Resolved>) {
        self.timers.clear(&Timer::ResolverLate);
        // Before the outcome is applied: a bug in that must not come back with the same run.
        let finished = self.reload.finish();
        let outcome = match &finished.run.roll_back {
            Some(_) => outcome.with_context(not_rolled_back),
            None => outcome,
        };
        let failure = match outcome {
            Ok(resolved) => {
                self.adopt(resolved, &finished.run);
                None
            }
            Err(error) => {
                match finished.run.built_in {
                    None => note_failure(&error),
                    Some(_) => log("configuration: no login is known without them either"),
                }
                Some(format!("{error:#}"))
            }
        };
        if let Some(change) = finished.run.roll_back.clone().filter(|_| failure.is_some()) {
            // What is stored was rolled back, and is not active yet.
            self.timers.set(ANOTHER_TRY, Timer::ConfirmLate(change));
        }
        let refused = failure.as_ref().map(|reason| {
            EngineError::Failed(format!("{reason}; the active configuration is unchanged"))
        });
        for caller in self.reload.take_concluding() {
            self.clients.answer(caller, refused.clone().map_or(Reply::Done, Reply::Error), &[]);
        }
        if finished.run.apply && failure.is_none() {
            self.apply_in_console();
        }
        match (finished.next, failure) {
            (Some(next), _) => self.start_resolver(&next),
            (None, Some(reason)) => self.fall_back(&finished.run, &reason),
            (None, None) => {}
        }
    }

    /// After a failure, lets users log in at least.
    fn fall_back(&mut self, run: &Run, reason: &str) {
        if let Some(fallback) = run.fallback(&self.resolved.config, reason) {
            log("configuration: no user could log in; resolving again without the owner's files");
            self.reload(fallback, None);
        }
    }

    fn adopt(&mut self, resolved: Resolved, run: &Run) {
        let known = &self.resolved.problems;
        let new = resolved.problems.iter().filter(|problem| !known.contains(problem));
        new.for_each(|problem| log(&format!("configuration: {problem}")));
        self.watch_confirmation(resolved.unconfirmed.clone());
        let read = |resolved: &Resolved| {
            let config = &resolved.config;
            (config.rancher.network.proxy_environment(), config.ca_certs.clone())
        };
        let is_other = read(&resolved) != read(&self.resolved);
        self.resolved = resolved;
        if is_other && self.shutdown.is_none() {
            log(
                "configuration: the engine daemon restarts, for its proxies or certificates change",
            );
            self.daemon.restart();
        }
        if !run.apply {
            self.keep_stages();
        }
        self.replace_changed();
    }

    /// What a stage of cloud-init has fetched may define it differently, as certificates and
    /// proxies do. It runs once more, with them: the rest may be reached only so. But not again,
    /// or it does so for ever if its result differs each time. A change that is applied on request
    /// always lets it run again.
    fn keep_stages(&mut self) {
        let done = STAGES.map(|name| self.progress(name).is_over().then_some(name));
        for name in done.into_iter().flatten() {
            let Some(service) = self.resolved.plan.get(name) else { continue };
            let defined = container_spec::of_service(service, &self.resolved.environment);
            let Some(container) = self.containers.named_mut(name) else { continue };
            let is_as_defined = container.planned() == Some(&defined);
            if !is_as_defined && !self.reload.take_repetition(name) {
                container.redefine(defined);
            }
        }
    }

    /// Sets the time at which an unconfirmed change is rolled back; that of the same change stays.
    pub(super) fn watch_confirmation(&mut self, change: Option<Unconfirmed>) {
        let timer = change.as_ref().map(|change| Timer::ConfirmLate(change.id.clone()));
        self.timers.clear_all(|other| {
            matches!(other, Timer::ConfirmLate(_)) && Some(other) != timer.as_ref()
        });
        let Some((timer, Unconfirmed { within, .. })) = timer.zip(change) else { return };
        if !self.timers.is_set(&timer) {
            log(&format!(
                "configuration: a change is rolled back in {within} s unless confirmed \
                 (ros config confirm)"
            ));
            self.timers.set(Duration::from_secs(within), timer);
        }
    }

    /// Ends the containers of the plan that are not as the plan defines them any more.
    /// `start_services` recreates them.
    fn replace_changed(&mut self) {
        if self.shutdown.is_some() {
            return;
        }
        let planned =
            |container: &&Container| container.planned().is_some() && !container.life.is_replaced();
        let outdated: Vec<&Container> = self
            .containers
            .iter()
            .filter(planned)
            .filter(|container| self.is_outdated(container))
            .collect();
        let context = &self.resolved.config.rancher.docker.storage_context;
        let mut changed: Vec<String> =
            outdated.iter().map(|container| container.id().to_owned()).collect();
        if outdated.iter().any(|container| container.name() == context) {
            // dockerd runs in the file system that is removed.
            let dockerd =
                self.containers.iter().filter(planned).find(|other| other.name() == "docker");
            let dockerd = dockerd.map(|container| container.id().to_owned());
            changed.extend(dockerd.filter(|id| !changed.contains(id)));
        }
        changed.into_iter().for_each(|id| self.replace(&id));
    }

    fn is_outdated(&self, container: &Container) -> bool {
        match self.resolved.plan.get(container.name()) {
            Some(service) => {
                let defined = container_spec::of_service(service, &self.resolved.environment);
                container.planned() != Some(&defined)
            }
            // What has ended does no harm, and may be looked at.
            None => container.life.state() != State::Exited,
        }
    }

    fn replace(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        log(&format!("configuration: {} changes", container.name()));
        self.handle_event(id, Event::Replace);
    }

    /// Users, keys, files and mounts are the console's. The console does not end for them: people
    /// are logged in there.
    fn apply_in_console(&mut self) {
        let Some(console) = self.containers.named("console") else { return };
        if !console.life.is_running() {
            return;
        }
        let spec = ExecSpec {
            args: ["/usr/bin/ros", "config-applied"].map(str::to_owned).to_vec(),
            privileged: true,
            ..ExecSpec::default()
        };
        let purpose = Purpose::Exec { exec: corral_engine::id::new_id(), caller: None };
        let request = HelperRequest::Exec { id: console.id().to_owned(), spec: Box::new(spec) };
        if let Err(error) = self.start_job(purpose, &request, Streams::default()) {
            log(&format!("applying the configuration in the console: {error}"));
        }
    }

    /// Answers clients that wait for the sources of the boot.
    pub(super) fn answer_settled(&mut self) {
        if !self.reload.has_settling() || self.reload.is_running() {
            return;
        }
        let is_planned = |name: &&&str| self.resolved.plan.get(name).is_some();
        if STAGES.iter().filter(is_planned).all(|name| self.progress(name).is_over()) {
            for caller in self.reload.take_settling() {
                self.clients.answer(caller, Reply::Done, &[]);
            }
        }
    }
}
