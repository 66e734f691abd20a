//! Services in the order of their dependencies; which of them may start, given what has happened so far.

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
    /// It runs, and its check says that it is well.
    Healthy,
    /// It runs, and its check says that it is not.
    Unhealthy,
    /// It ended well.
    Completed,
    /// It ended in another way.
    Failed,
}

/// Why a service cannot be started for the time being, if that is another's doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub service: String,
    pub what: &'static str,
}

/// Services that wait for each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these services wait for each other in a circle: {}", names.join(" → "))]
pub struct Cycle {
    pub names: Vec<String>,
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
    /// Orders services by their labels and dependencies, and gives each the volumes that it takes from others. A name
    /// that is not in the plan is dropped (see [`Plan::missing`]); a circle is an error that names it.
    pub fn new(services: Vec<Service>) -> Result<Plan, Cycle> {
        let known: BTreeSet<String> = services.iter().map(|service| service.name.to_string()).collect();
        let mut waits_for: BTreeMap<String, BTreeSet<String>> =
            known.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
        for service in &services {
            let name = service.name.to_string();
            let others = service.labels.after.iter().chain(service.depends_on.keys());
            for other in others.filter(|other| known.contains(*other)) {
                waits_for.entry(name.clone()).or_default().insert(other.clone());
            }
            for other in service.labels.before.iter().filter(|other| known.contains(*other)) {
                waits_for.entry(other.clone()).or_default().insert(name.clone());
            }
        }
        let order = sort(&waits_for)?;
        let rank = |service: &Service| order.iter().position(|name| name == service.name.as_str());
        let mut services = services;
        services.sort_by_key(rank);
        let mut plan = Plan { services, waits_for };
        plan.share_volumes();
        Ok(plan)
    }

    /// `volumes_from`: in the order of the plan, so that what is taken may itself have been taken from others.
    fn share_volumes(&mut self) {
        for at in 0..self.services.len() {
            let mut volumes = std::mem::take(&mut self.services[at].volumes);
            for (name, read_only) in self.services[at].volumes_from.clone() {
                let taken = self.get(&name).map(|other| other.volumes.clone()).unwrap_or_default();
                let is_new = |volume: &Volume| !volumes.iter().any(|own| own.target == volume.target);
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
            in_order && progress != Progress::Waiting && holds(service, name, progress)
        };
        self.waits_for.get(service.name.as_str()).is_none_or(|names| names.iter().all(satisfied))
    }

    /// What keeps a service from being started, where waiting alone does not help: something that it depends on is not
    /// well, or ended otherwise than it must.
    pub fn obstacle(&self, service: &Service, progress: impl Fn(&str) -> Progress) -> Option<Obstacle> {
        let mut needed =
            service.needs().filter_map(|name| Some((name, service.depends_on.get(name)?.condition)));
        needed.find_map(|(name, condition)| {
            let what = match (condition, progress(name)) {
                (Condition::ServiceHealthy, Progress::Unhealthy) => "is not healthy",
                (Condition::ServiceHealthy, Progress::Completed | Progress::Failed) => "has ended",
                (Condition::ServiceCompletedSuccessfully, Progress::Failed) => "has failed",
                _ => return None,
            };
            Some(Obstacle { service: name.to_owned(), what })
        })
    }
}

/// Is the other service as far as this one needs it?
fn holds(service: &Service, other: &str, progress: Progress) -> bool {
    let Some(dependency) = service.depends_on.get(other) else { return true };
    match dependency.condition {
        Condition::ServiceStarted => true,
        // One that it can do without may be over; nobody waits for it then.
        _ if !dependency.required && progress.is_over() => true,
        Condition::ServiceHealthy => progress == Progress::Healthy,
        Condition::ServiceCompletedSuccessfully => progress == Progress::Completed,
    }
}

/// Depth-first; services that do not depend on each other stay in alphabetical order.
fn sort(waits_for: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, Cycle> {
    let mut order = Vec::new();
    for name in waits_for.keys() {
        visit(name, waits_for, &mut Vec::new(), &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    waits_for: &BTreeMap<String, BTreeSet<String>>,
    trail: &mut Vec<String>,
    order: &mut Vec<String>,
) -> Result<(), Cycle> {
    if order.iter().any(|done| done == name) {
        return Ok(());
    }
    if let Some(start) = trail.iter().position(|above| above == name) {
        let mut names = trail[start..].to_vec();
        names.push(name.to_owned());
        return Err(Cycle { names });
    }
    trail.push(name.to_owned());
    for other in waits_for.get(name).into_iter().flatten() {
        visit(other, waits_for, trail, order)?;
    }
    trail.pop();
    order.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::parse;

    fn plan(text: &str) -> Result<Plan, Cycle> {
        Plan::new(parse("f", text).unwrap().services)
    }

    #[test]
    fn labels_make_the_order_and_unknown_names_are_dropped() {
        let text = "a: {image: i, labels: {io.rancher.os.after: 'c, nobody'}}\nb: {image: i, labels: {io.rancher.os.before: c}}\nc: {image: i, labels: {io.rancher.os.detach: 'false'}}\n";
        let plan = plan(text).unwrap();
        let names: Vec<&str> = plan.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "a"]);
        let a = plan.get("a").unwrap();
        assert!(!plan.is_ready(a, |_| Progress::Started), "c must end first");
        assert!(plan.is_ready(a, |_| Progress::Completed));
    }

    #[test]
    fn conditions_are_waited_for_and_what_stands_in_the_way_is_named() {
        let text = "services:
  web: {image: i, depends_on: {db: {condition: service_healthy}, setup: {condition: service_completed_successfully}, gone: {condition: service_started, required: false}, away: {condition: service_started}}}
  db: {image: i}
  setup: {image: i}\n";
        let plan = plan(text).unwrap();
        let web = plan.get("web").unwrap();
        let at = |db, setup| move |name: &str| if name == "db" { db } else { setup };
        assert!(!plan.is_ready(web, at(Progress::Started, Progress::Completed)));
        assert!(!plan.is_ready(web, at(Progress::Healthy, Progress::Started)));
        assert!(plan.is_ready(web, at(Progress::Healthy, Progress::Completed)));
        assert_eq!(plan.obstacle(web, at(Progress::Started, Progress::Started)), None);
        let failed = plan.obstacle(web, at(Progress::Healthy, Progress::Failed)).unwrap();
        assert_eq!((failed.service.as_str(), failed.what), ("setup", "has failed"));
        let sick = plan.obstacle(web, at(Progress::Unhealthy, Progress::Completed)).unwrap();
        assert_eq!((sick.service.as_str(), sick.what), ("db", "is not healthy"));
        assert_eq!(plan.missing(), [Missing { service: "web".to_owned(), needs: "away".to_owned() }]);
    }

    #[test]
    fn volumes_are_taken_from_others_which_took_them_from_others() {
        let text = "all: {image: i, volumes_from: [user, system], labels: {io.rancher.os.createonly: 'true'}}
system: {image: i, volumes: ['/run:/run']}
tool: {image: i, volumes: ['/own:/opt'], volumes_from: ['all:ro']}
user: {image: i, volumes: ['/home:/home', '/opt:/opt']}\n";
        let plan = plan(text).unwrap();
        let volumes = &plan.get("tool").unwrap().volumes;
        let seen: Vec<(&str, bool)> =
            volumes.iter().map(|volume| (volume.target.as_str(), volume.read_only)).collect();
        assert_eq!(seen, [("/opt", false), ("/home", true), ("/run", true)]);
    }

    #[test]
    fn a_circle_is_named() {
        let text = "a: {image: i, labels: {io.rancher.os.after: b}}\nb: {image: i, labels: {io.rancher.os.after: a}}\n";
        assert_eq!(
            plan(text).unwrap_err().to_string(),
            "these services wait for each other in a circle: a → b → a"
        );
    }
}
