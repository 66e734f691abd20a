//! Clients that wait for something to happen to a container, and containers that go when it has.

use super::Supervisor;
use super::clients::Waiting;
use super::jobs::Purpose;
use corral_engine::core::Streams;
use corral_engine::error::EngineError;
use corral_engine::protocol::{Order, Reply};
use corral_machine::console::say;
use corral_plan::lifecycle::State;
use serde::{Deserialize, Serialize};

/// A client that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiter {
    id: String,
    pub(super) caller: Waiting,
    until: Until,
}

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Until {
    /// It runs, or could not be started.
    Started,
    /// It has ended.
    Stopped,
}

impl Supervisor {
    /// Answers a client later.
    pub(super) fn wait_until(&mut self, id: &str, caller: Waiting, until: Until) {
        self.waiters.push(Waiter { id: id.to_owned(), caller, until });
    }

    /// Answers those whose container is as they want it, or will not be.
    pub(super) fn settle(&mut self, id: &str, started: &Result<(), EngineError>) {
        let Some(container) = self.containers.get(id) else { return };
        let is_stopped = container.is_down() || container.start_again && container.cleaning.is_none();
        let is_started = container.state == State::Running;
        // A policy may have begun to start it again; a failed start is one all the same.
        let failed = started.is_err() && container.is_down() && !container.start_again;
        let mut done = Vec::new();
        self.waiters.retain(|waiter| {
            let result = match waiter.until {
                _ if waiter.id != id => None,
                Until::Stopped if is_stopped => Some(Ok(())),
                Until::Started if is_started => Some(Ok(())),
                Until::Started if failed => Some(started.clone()),
                _ => None,
            };
            done.extend(result.clone().map(|result| (waiter.caller, result)));
            result.is_none()
        });
        for (caller, result) in done {
            self.clients.answer(caller, result.map_or_else(Reply::Error, |()| Reply::Done), &[]);
        }
    }

    /// Forgets a container that has ended and is not wanted any more: a client said so, or another takes its place.
    pub(super) fn remove_if_unwanted(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let is_unwanted = container.retiring || !container.removers.is_empty();
        if !is_unwanted || !container.is_down() || container.removing {
            return;
        }
        container.removing = true;
        let removers = std::mem::take(&mut container.removers);
        self.tell(id, "destroy", None);
        self.containers.remove(id);
        self.waiters.retain(|waiter| waiter.id != id);
        if removers.is_empty() {
            // Nobody asked for it: its files are ours to remove.
            let order = Order::Cleanup { id: id.to_owned(), keep_children: false, remove: true };
            if let Err(error) = self.start_job(Purpose::Remove, &order, Streams::default()) {
                say(&format!("removing a container: {error}"));
            }
        }
        for caller in removers {
            self.clients.answer(caller, Reply::Done, &[]);
        }
    }
}
