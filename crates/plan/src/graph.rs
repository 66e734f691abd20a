//! Services in the order of their dependencies; which of them may start, given how far the others
//! are.

use crate::service::{Condition, Service, Volume};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The services of the system, each with the names of those that it waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In an order in which they could start one after the other.
    pub services: Vec<Service>,
    /// service → what it waits for; only names that are in the plan.
    pub waits_for: BTreeMap<String, BTreeSet<String>>,
}

/// How far a service is, as far as others care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Waiting,
    /// It runs, or ran.
    Started,
    /// It runs, and its check reports it as healthy.
    Healthy,
    /// It runs, and its check reports it as unhealthy.
    Unhealthy,
    /// It ended well.
    Completed,
    /// It ended in another way.
    Failed,
}

/// Why a service cannot be started for the time being, if that is another's doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetDependency {
    pub service: String,
    pub what: &'static str,
}

impl std::fmt::Display for UnmetDependency {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.service, self.what)
    }
}

/// Services that wait for each other in a cycle, and what was left out so that they start all the
/// same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// In the order in which each waits for the next; the first one stands at the end again.
    pub names: Vec<String>,
    pub dropped: Wait,
}

impl std::fmt::Display for Cycle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Wait { service, other } = &self.dropped;
        let names = self.names.join(" → ");
        write!(
            formatter,
            "dependency cycle detected: {names}; {service} starts without waiting for {other}"
        )
    }
}

/// All cycles of a plan. There may be many, each with hundreds of names, so only the first ones are
/// shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cycles {
    pub shown: Vec<Cycle>,
    /// Others, broken as well.
    pub more: usize,
}

/// Cycles that are shown.
const MOST_SHOWN: usize = 50;

/// service → what it does not wait for any more.
type Dropped = BTreeMap<String, BTreeSet<String>>;

/// A service that starts after another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    pub service: String,
    pub other: String,
}

/// A service that needs another one that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub service: String,
    pub needs: String,
}

impl Progress {
    /// It ended, well or badly.
    pub fn is_over(self) -> bool {
        matches!(self, Progress::Completed | Progress::Failed)
    }
}

impl Plan {
    /// Orders services by their labels and dependencies, and gives each the volumes that it takes
    /// from others. A name that is not in the plan is dropped (see [`Plan::missing`]). Cycles are
    /// broken one after the other, and reported. What an owner's service defines is dropped before
    /// what a built-in one defines.
    pub fn new(mut services: Vec<Service>) -> (Plan, Cycles) {
        let built_in =
            services.iter().filter(|service| service.built_in).flat_map(waits_of).collect();
        let mut sorting =
            Sorting { waits_for: all_waits(&services), built_in, ..Sorting::default() };
        let names: Vec<String> = sorting.waits_for.keys().cloned().collect();
        names.iter().for_each(|name| sorting.visit(name));
        remove_dropped(&mut services, &sorting.dropped);
        (Plan::ordered(services, sorting.waits_for, &sorting.order), sorting.cycles)
    }

    fn ordered(
        mut services: Vec<Service>,
        waits_for: BTreeMap<String, BTreeSet<String>>,
        order: &[String],
    ) -> Plan {
        let ranks: BTreeMap<&str, usize> =
            order.iter().enumerate().map(|(rank, name)| (name.as_str(), rank)).collect();
        services.sort_by_key(|service| ranks.get(service.name.as_str()).copied());
        let mut plan = Plan { services, waits_for };
        plan.share_volumes();
        plan
    }

    /// `volumes_from`: in the order of the plan, so that what is taken may itself have been taken
    /// from others.
    fn share_volumes(&mut self) {
        for at in 0..self.services.len() {
            let mut volumes = std::mem::take(&mut self.services[at].volumes);
            for (name, read_only) in self.services[at].volumes_from.clone() {
                let taken = self.get(&name).map(|other| other.volumes.clone()).unwrap_or_default();
                let is_new =
                    |volume: &Volume| !volumes.iter().any(|own| own.target == volume.target);
                let new: Vec<Volume> = taken.into_iter().filter(is_new).collect();
                let with_mode =
                    |volume: Volume| Volume { read_only: volume.read_only || read_only, ..volume };
                volumes.extend(new.into_iter().map(with_mode));
            }
            self.services[at].volumes = volumes;
        }
    }

    /// A service by its name.
    pub fn get(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }

    /// Services that some service cannot be without, and that are not in the plan.
    pub fn missing(&self) -> Vec<Missing> {
        let of = |service: &Service| {
            let absent = service.needs().filter(|name| self.get(name).is_none());
            absent
                .map(|needs| Missing { service: service.name.to_string(), needs: needs.to_owned() })
                .collect()
        };
        self.services.iter().flat_map(|service| -> Vec<Missing> { of(service) }).collect()
    }

    /// May this service start now?
    pub fn is_ready(&self, service: &Service, progress: impl Fn(&str) -> Progress) -> bool {
        let satisfied = |name: &String| {
            let Some(other) = self.get(name) else { return true };
            if other.labels.create_only {
                return true;
            }
            let progress = progress(name);
            let in_order = other.labels.detach || progress.is_over();
            in_order && progress != Progress::Waiting && condition_is_met(service, name, progress)
        };
        self.waits_for.get(service.name.as_str()).is_none_or(|names| names.iter().all(satisfied))
    }

    /// What keeps a service from being started, where waiting alone does not help: a dependency is
    /// not healthy, or did not end as it must.
    pub fn unmet_dependency(
        &self,
        service: &Service,
        progress: impl Fn(&str) -> Progress,
    ) -> Option<UnmetDependency> {
        let mut needed = service
            .needs()
            .filter_map(|name| Some((name, service.depends_on.get(name)?.condition)));
        needed.find_map(|(name, condition)| {
            let what = match (condition, progress(name)) {
                (Condition::ServiceHealthy, Progress::Unhealthy) => "is not healthy",
                (Condition::ServiceHealthy, Progress::Completed | Progress::Failed) => "has ended",
                (Condition::ServiceCompletedSuccessfully, Progress::Failed) => "has failed",
                _ => return None,
            };
            Some(UnmetDependency { service: name.to_owned(), what })
        })
    }
}

/// Is the other service as far as this one needs it?
fn condition_is_met(service: &Service, other: &str, progress: Progress) -> bool {
    let Some(dependency) = service.depends_on.get(other) else { return true };
    match dependency.condition {
        Condition::ServiceStarted => true,
        // An optional dependency may be over: then the service does not wait for it.
        _ if !dependency.required && progress.is_over() => true,
        Condition::ServiceHealthy => progress == Progress::Healthy,
        Condition::ServiceCompletedSuccessfully => progress == Progress::Completed,
    }
}

/// Who starts after whom; only names that are there.
fn all_waits(services: &[Service]) -> BTreeMap<String, BTreeSet<String>> {
    let mut waits_for: BTreeMap<String, BTreeSet<String>> =
        services.iter().map(|service| (service.name.to_string(), BTreeSet::new())).collect();
    for service in services {
        for Wait { service, other } in waits_of(service) {
            if waits_for.contains_key(&other)
                && let Some(others) = waits_for.get_mut(&service)
            {
                others.insert(other);
            }
        }
    }
    waits_for
}

/// What the definition of one service sets for the order.
fn waits_of(service: &Service) -> impl Iterator<Item = Wait> {
    let name = service.name.as_str();
    let others = service.labels.after.iter().chain(service.depends_on.keys());
    let after = others.map(|other| Wait { service: name.to_owned(), other: other.clone() });
    let before = service.labels.before.iter();
    after.chain(before.map(|other| Wait { service: other.clone(), other: name.to_owned() }))
}

/// Takes out of the definitions what is not waited for any more.
fn remove_dropped(services: &mut [Service], dropped: &Dropped) {
    let is_dropped = |service: &str, other: &str| {
        dropped.get(service).is_some_and(|others| others.contains(other))
    };
    for service in services.iter_mut().filter(|_| !dropped.is_empty()) {
        let name = service.name.as_str();
        service.labels.after.retain(|other| !is_dropped(name, other));
        service.depends_on.retain(|other, _| !is_dropped(name, other));
        service.labels.before.retain(|other| !is_dropped(other, name));
    }
}

/// Depth-first; services that do not depend on each other stay in alphabetical order.
#[derive(Debug, Default)]
struct Sorting {
    /// What closes a cycle is taken out.
    waits_for: BTreeMap<String, BTreeSet<String>>,
    /// What built-in services set for the order.
    built_in: BTreeSet<Wait>,
    done: BTreeSet<String>,
    order: Vec<String>,
    cycles: Cycles,
    dropped: Dropped,
}

impl Sorting {
    /// Puts a service after all that it waits for.
    fn visit(&mut self, name: &str) {
        // Not by recursion: an owner may write a chain that is longer than a stack is deep.
        let mut trail = vec![name.to_owned()];
        let mut on_trail: BTreeSet<String> = trail.iter().cloned().collect();
        while let Some(at) = trail.last().filter(|at| !self.done.contains(*at)) {
            let Some(next) = self.next_of(at) else {
                if let Some(at) = trail.pop() {
                    on_trail.remove(&at);
                    self.done.insert(at.clone());
                    self.order.push(at);
                }
                continue;
            };
            if on_trail.insert(next.clone()) {
                trail.push(next);
                continue;
            }
            let start = trail.iter().position(|above| *above == next).unwrap_or_default();
            let after = start + self.break_cycle(&trail[start..]);
            for gone in trail.drain(after..) {
                on_trail.remove(&gone);
            }
        }
    }

    fn next_of(&self, name: &str) -> Option<String> {
        self.waits_for.get(name)?.iter().find(|other| !self.done.contains(*other)).cloned()
    }

    /// Each name waits for the next, the last one for the first. Returns the number of names up to
    /// the one that waits less now.
    fn break_cycle(&mut self, names: &[String]) -> usize {
        let wait = |at: usize| Wait {
            service: names[at].clone(),
            other: names[(at + 1) % names.len()].clone(),
        };
        // What no built-in service defines is dropped; of several the last one.
        let last = names.len() - 1;
        let weakest =
            (0..names.len()).rev().find(|at| !self.built_in.contains(&wait(*at))).unwrap_or(last);
        let dropped = wait(weakest);
        if let Some(others) = self.waits_for.get_mut(&dropped.service) {
            others.remove(&dropped.other);
        }
        self.dropped.entry(dropped.service.clone()).or_default().insert(dropped.other.clone());
        if self.cycles.shown.len() < MOST_SHOWN {
            let names = names.iter().chain(names.first()).cloned().collect();
            self.cycles.shown.push(Cycle { names, dropped });
        } else {
            self.cycles.more += 1;
        }
        weakest + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::parse;
    use corral_config::names::ServiceName;

    fn plan(text: &str) -> Plan {
        let (plan, cycles) = Plan::new(parse("f", text).unwrap().services);
        assert_eq!(cycles, Cycles::default());
        plan
    }

    #[test]
    fn labels_make_the_order_and_unknown_names_are_dropped() {
        let text = "a: {image: i, labels: {io.rancher.os.after: 'c, missing'}}\n\
                    b: {image: i, labels: {io.rancher.os.before: c}}\n\
                    c: {image: i, labels: {io.rancher.os.detach: 'false'}}\n";
        let plan = plan(text);
        let names: Vec<&str> = plan.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "a"]);
        let a = plan.get("a").unwrap();
        assert!(!plan.is_ready(a, |_| Progress::Started), "c must end first");
        assert!(plan.is_ready(a, |_| Progress::Completed));
    }

    #[test]
    fn conditions_are_waited_for_and_what_stands_in_the_way_is_named() {
        let text = "services:
  web: {image: i, depends_on: {db: {condition: service_healthy}, \
    setup: {condition: service_completed_successfully}, \
    gone: {condition: service_started, required: false}, away: {condition: service_started}}}
  db: {image: i}
  setup: {image: i}\n";
        let plan = plan(text);
        let web = plan.get("web").unwrap();
        let at = |db, setup| move |name: &str| if name == "db" { db } else { setup };
        assert!(!plan.is_ready(web, at(Progress::Started, Progress::Completed)));
        assert!(!plan.is_ready(web, at(Progress::Healthy, Progress::Started)));
        assert!(plan.is_ready(web, at(Progress::Healthy, Progress::Completed)));
        assert_eq!(plan.unmet_dependency(web, at(Progress::Started, Progress::Started)), None);
        let failed = plan.unmet_dependency(web, at(Progress::Healthy, Progress::Failed)).unwrap();
        assert_eq!((failed.service.as_str(), failed.what), ("setup", "has failed"));
        let sick =
            plan.unmet_dependency(web, at(Progress::Unhealthy, Progress::Completed)).unwrap();
        assert_eq!((sick.service.as_str(), sick.what), ("db", "is not healthy"));
        assert_eq!(
            plan.missing(),
            [Missing { service: "web".to_owned(), needs: "away".to_owned() }]
        );
    }

    #[test]
    fn volumes_are_taken_from_others_which_took_them_from_others() {
        let text = "all: {image: i, volumes_from: [user, system], \
  labels: {io.rancher.os.createonly: 'true'}}
system: {image: i, volumes: ['/run:/run']}
tool: {image: i, volumes: ['/own:/opt'], volumes_from: ['all:ro']}
user: {image: i, volumes: ['/home:/home', '/opt:/opt']}\n";
        let plan = plan(text);
        let volumes = &plan.get("tool").unwrap().volumes;
        let seen: Vec<(&str, bool)> =
            volumes.iter().map(|volume| (volume.target.as_str(), volume.read_only)).collect();
        assert_eq!(seen, [("/opt", false), ("/home", true), ("/run", true)]);
    }

    /// Services by `name: what it waits for`; those in capitals are built in.
    fn broken(text: &str) -> (Plan, Vec<String>) {
        let mut services = Vec::new();
        for line in text.split(", ") {
            let (name, others) = line.split_once(": ").unwrap();
            let definition =
                format!("{name}: {{image: i, labels: {{io.rancher.os.after: '{others}'}}}}");
            let mut service = parse("f", &definition).unwrap().services.remove(0);
            service.built_in = name == name.to_uppercase();
            services.push(service);
        }
        let (plan, cycles) = Plan::new(services);
        (plan, cycles.shown.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_cycle_is_named_and_broken() {
        let (plan, cycles) = broken("a: b, b: a");
        assert_eq!(
            cycles,
            ["dependency cycle detected: a → b → a; b starts without waiting for a"]
        );
        assert!(plan.is_ready(plan.get("b").unwrap(), |_| Progress::Waiting));
        assert!(!plan.is_ready(plan.get("a").unwrap(), |_| Progress::Waiting));
    }

    #[test]
    fn of_many_cycles_all_are_broken_and_every_service_stays() {
        let cases = [
            ("a: b, b: a, c: d, d: c, E: f", 2),
            ("a: 'b,c', b: 'a', c: 'a'", 2),
            ("a: a", 1),
            ("a: 'b', b: 'c', c: 'a,b'", 2),
        ];
        for (text, count) in cases {
            let text = text.replace('\'', "");
            let names = text.split(", ").filter(|part| part.contains(": ")).count();
            let (plan, cycles) = broken(&text);
            assert_eq!((plan.services.len(), cycles.len()), (names, count), "{text}: {cycles:?}");
            let mut started = BTreeSet::new();
            for service in &plan.services {
                assert!(
                    plan.waits_for[service.name.as_str()].is_subset(&started),
                    "{text}: {}",
                    service.name
                );
                started.insert(service.name.to_string());
            }
        }
    }

    #[test]
    fn what_an_owner_says_is_dropped_before_what_is_built_in() {
        for text in ["CONSOLE: mine, mine: CONSOLE", "CONSOLE: NET, NET: mine, mine: CONSOLE"] {
            let (plan, cycles) = broken(text);
            assert!(cycles[0].ends_with("mine starts without waiting for CONSOLE"), "{cycles:?}");
            assert!(plan.services.last().is_some_and(|last| last.name.as_str() == "CONSOLE"));
        }
    }

    #[test]
    fn a_long_chain_and_a_thousand_cycles_are_no_matter() {
        let chain: Vec<String> = (0..20_000).map(|at| format!("s{at}: s{}", at + 1)).collect();
        assert_eq!(broken(&chain.join(", ")).1.len(), 0);
        let cycles: Vec<String> =
            (0..1000).map(|at| format!("a{at}: b{at}, b{at}: a{at}")).collect();
        let (plan, shown) = broken(&cycles.join(", "));
        assert_eq!((plan.services.len(), shown.len()), (2000, MOST_SHOWN));
    }

    #[test]
    fn of_services_that_all_wait_for_all_the_first_cycles_are_shown() {
        const COUNT: usize = 430;
        let names: Vec<String> = (0..COUNT).map(|at| format!("s{at}")).collect();
        let services = names.iter().map(|name| {
            let mut service =
                Service::new(ServiceName::try_from(name.clone()).unwrap(), "image".to_owned());
            service.labels.after = names.iter().filter(|other| *other != name).cloned().collect();
            service
        });
        let (plan, cycles) = Plan::new(services.collect());
        assert_eq!(cycles.shown.len() + cycles.more, COUNT * (COUNT - 1) / 2);
        assert_eq!(cycles.shown.len(), MOST_SHOWN);
        let waits = |plan: &Plan| {
            plan.services.iter().map(|service| service.labels.after.len()).sum::<usize>()
        };
        assert_eq!(waits(&plan), COUNT * (COUNT - 1) / 2, "half of them is left");
        assert_eq!(Plan::new(plan.services).1, Cycles::default());
    }
}
