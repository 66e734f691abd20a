//! What of the boot is still at work: services that were not started yet, and those that end when
//! their work is done. `power_state` waits for them.

use anyhow::{Context, Result};
use corral_docker::{Client, Engine};
use corral_engine::client::{self, unexpected};
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::{Snapshot, State};
use corral_machine::deadline;
use std::collections::BTreeMap;
use std::time::Duration;

/// With the value `false`: other services wait until this one has ended.
const DETACH: &str = "io.rancher.os.detach";
/// These end as well, though no other service waits for it.
const ONE_TIME: [&str; 2] = ["os-trial", "user-services"];

/// Services that were not started yet, and what each waits for.
type Waiting = BTreeMap<String, Vec<String>>;

/// Waits until nothing is at work any more. Returns what still is when the time is over.
pub(super) fn await_rest(limit: Duration) -> Result<Vec<String>> {
    let end = deadline::after(limit);
    let of_pid1 = client::Client::connect(|_, _| {}).context("connecting to PID 1")?;
    let mut open = Vec::new();
    Client::of(Engine::System)?.watch(&[], end, || {
        // First what PID 1 is still to start: it may start it between the two requests.
        let waiting: Waiting = match of_pid1.call(Request::Waiting)? {
            Reply::Value(value) => serde_json::from_value(value)?,
            other => return Err(unexpected(&other).into()),
        };
        open = at_work(waiting, &of_pid1.list()?);
        Ok(open.is_empty().then_some(()))
    })?;
    Ok(open)
}

/// The names of what is at work. A service that fails again and again is not.
fn at_work(waiting: Waiting, containers: &[Snapshot]) -> Vec<String> {
    let is_at_work = |container: &&Snapshot| match container.status.state {
        State::Starting => container.status.started.is_none(),
        State::Running => ends(container),
        State::Created | State::Stopping | State::Exited | State::Restarting => false,
    };
    let planned = containers.iter().filter(|container| container.status.planned);
    let started = planned.filter(is_at_work).map(|container| container.spec.name.clone());
    let mut names: Vec<String> = waiting.into_keys().chain(started).collect();
    names.sort();
    names.dedup();
    names
}

/// Does it end when its work is done?
fn ends(container: &Snapshot) -> bool {
    let is_awaited = container.spec.labels.get(DETACH).is_some_and(|value| value == "false");
    is_awaited || ONE_TIME.contains(&container.spec.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::spec::{ContainerSpec, Status};

    fn container(name: &str, state: State, detach: Option<&str>) -> Snapshot {
        let labels = detach.map(|value| (DETACH.to_owned(), value.to_owned()));
        let labels = labels.into_iter().collect();
        let spec = ContainerSpec { name: name.to_owned(), labels, ..ContainerSpec::default() };
        let status = Status { state, planned: true, ..Status::default() };
        Snapshot { id: name.to_owned(), spec, status }
    }

    #[test]
    fn what_runs_for_good_has_failed_or_is_a_clients_is_not_waited_for() {
        let mut of_client = container("client", State::Running, Some("false"));
        of_client.status.planned = false;
        let containers = [
            container("syslog", State::Running, None),
            container("work", State::Running, Some("false")),
            container("done", State::Exited, Some("false")),
            container("failed", State::Restarting, Some("false")),
            container("list", State::Created, None),
            container("pulled", State::Starting, Some("true")),
            container("user-services", State::Running, None),
            of_client,
        ];
        let waiting = Waiting::from([("web".to_owned(), Vec::new())]);
        assert_eq!(at_work(waiting, &containers), ["pulled", "user-services", "web", "work"]);
        assert_eq!(at_work(Waiting::new(), &containers[..1]), [""; 0]);
    }
}
