//! Services of the plan: each is made a container and started as soon as what it waits for is
//! there.

use super::container::Container;
use super::reload::Run;
use super::supervisor::Supervisor;
use crate::container_spec;
use crate::lifecycle::Event;
use crate::trace;
use corral_machine::console::log;
use corral_plan::graph::Progress;
use corral_plan::service::Service;
use std::collections::{BTreeMap, BTreeSet};

/// Without these two, no user can work on the machine. When both run, it reports that it is up.
const ESSENTIAL: [&str; 2] = ["console", "docker"];

/// Lists of mounts, and what the boot itself runs, are services of the system image that need none.
fn has_container(service: &Service) -> bool {
    !service.labels.create_only || service.is_startable_by_others()
}

impl Supervisor {
    /// Starts every service that may start now and was not started yet. Of those that are created
    /// only, the container is there for a client to start.
    pub(super) fn start_services(&mut self) {
        if self.shutdown.is_some() || self.reload.is_running() {
            return;
        }
        self.record_progress();
        if self.reload.is_running() {
            // What follows may be another plan.
            return;
        }
        let ready: Vec<Service> = self
            .open_services()
            .filter(|service| has_container(service))
            .filter(|service| self.resolved.plan.is_ready(service, |name| self.progress(name)))
            .cloned()
            .collect();
        self.report_blockers();
        ready.iter().for_each(|service| self.start_service(service));
    }

    /// Creates the container of a service, and starts it unless it is to be created only.
    fn start_service(&mut self, service: &Service) {
        let name = service.name.as_str();
        let starts = !service.labels.create_only;
        if starts {
            let waits = self.resolved.plan.waits_for.get(name);
            let mut after: Vec<String> = waits.into_iter().flatten().cloned().collect();
            after.push("sysctl".to_owned());
            self.trace.begin(name, after);
        }
        let spec = container_spec::of_service(service, &self.resolved.environment);
        let id = corral_engine::id::new_id();
        match self.create(Container::of_plan(id.clone(), spec)) {
            Ok(()) if starts => self.handle_event(&id, Event::Start),
            Ok(()) => {}
            Err(error) => log(&format!("{name}: {error}")),
        }
    }

    /// The services of the plan that have no container yet.
    fn open_services(&self) -> impl Iterator<Item = &Service> {
        let is_open = |service: &&Service| self.containers.named(service.name.as_str()).is_none();
        self.resolved.plan.services.iter().filter(is_open)
    }

    /// How far a service is.
    pub(super) fn progress(&self, name: &str) -> Progress {
        self.containers.named(name).map_or(Progress::Waiting, Container::progress)
    }

    fn is_up(&self, name: &str) -> bool {
        let progress = self.progress(name);
        progress != Progress::Waiting && !progress.is_over()
    }

    /// Reports, once for each, what keeps a service from being started where waiting alone does not
    /// help.
    fn report_blockers(&mut self) {
        let blocker = |service: &Service| {
            let unmet = self.resolved.plan.unmet_dependency(service, |name| self.progress(name))?;
            Some(format!("{}: not started: {unmet}", service.name))
        };
        let blockers: BTreeSet<String> = self.open_services().filter_map(blocker).collect();
        blockers.difference(&self.blockers).for_each(|line| log(line));
        self.blockers = blockers;
    }

    /// Services that were not started yet: name → those that it waits for.
    pub(super) fn waiting(&self) -> BTreeMap<String, Vec<String>> {
        let plan = &self.resolved.plan;
        let open = self.open_services().filter(|service| !service.labels.create_only);
        let with_reasons = open.map(|service| {
            let names = plan.waits_for.get(service.name.as_str()).into_iter().flatten();
            let holding =
                names.filter(|name| plan.get(name).is_some_and(|other| self.holds_up(other)));
            let mut reasons: Vec<String> =
                holding.map(|name| format!("it waits for {name}")).collect();
            let unmet = plan.unmet_dependency(service, |name| self.progress(name));
            reasons.extend(unmet.map(|unmet| unmet.to_string()));
            (service.name.to_string(), reasons)
        });
        with_reasons.collect()
    }

    /// Is this one not as far as those need it that come after it?
    fn holds_up(&self, service: &Service) -> bool {
        let progress = self.progress(service.name.as_str());
        let is_done =
            if service.labels.detach { progress != Progress::Waiting } else { progress.is_over() };
        !is_done && !service.labels.create_only
    }

    /// Notes who is done, once for each container, and acts on what that means.
    fn record_progress(&mut self) {
        let mut reload = false;
        for service in self.resolved.plan.services.clone() {
            let name = service.name.as_str();
            let progress = self.progress(name);
            if !progress.is_over() && (!service.labels.detach || progress == Progress::Waiting) {
                continue;
            }
            let container = self.containers.named_mut(name);
            if !container.is_some_and(Container::handle_completion) {
                continue;
            }
            self.trace.end(name);
            reload |= service.labels.reload_config;
        }
        if reload {
            self.reload(Run::default(), None);
        }
        self.announce();
    }

    fn announce(&mut self) {
        if !self.announced && ESSENTIAL.iter().all(|name| self.is_up(name)) {
            self.announced = true;
            log(&format!("started {:.1} s after the kernel", trace::seconds(trace::now())));
        }
    }
}
