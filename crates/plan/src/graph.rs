//! Services in the order of their dependencies; which of them may start, given what has happened so far.

use crate::service::Service;
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
    /// It ended, well or badly.
    Ended,
}

/// Services that wait for each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these services wait for each other in a circle: {}", names.join(" → "))]
pub struct Cycle {
    pub names: Vec<String>,
}

impl Plan {
    /// Orders services by their labels. A name that is not in the plan is dropped; a circle is an error that names it.
    pub fn new(services: Vec<Service>) -> Result<Plan, Cycle> {
        let known: BTreeSet<String> = services.iter().map(|service| service.name.to_string()).collect();
        let mut waits_for: BTreeMap<String, BTreeSet<String>> =
            known.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
        for service in &services {
            let name = service.name.to_string();
            for other in service.labels.after.iter().filter(|other| known.contains(*other)) {
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
        Ok(Plan { services, waits_for })
    }

    /// A service by its name.
    pub fn get(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }

    /// May this service start now?
    pub fn is_ready(&self, service: &Service, progress: impl Fn(&str) -> Progress) -> bool {
        let satisfied = |name: &String| match self.get(name) {
            Some(other) if other.labels.create_only => true,
            Some(other) if !other.labels.detach => progress(name) == Progress::Ended,
            Some(_) => progress(name) != Progress::Waiting,
            None => true,
        };
        self.waits_for.get(service.name.as_str()).is_none_or(|names| names.iter().all(satisfied))
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
        assert!(plan.is_ready(a, |_| Progress::Ended));
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
