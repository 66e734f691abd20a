//! All events, in the form that Docker's clients expect. The last ones are kept for clients that
//! come later.
//! <https://docs.docker.com/reference/api/engine/#tag/System/operation/SystemEvents>

use corral_engine::spec::Snapshot;
use corral_engine::time;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// Events that are kept.
const CAPACITY: usize = 1024;

/// An event as in Docker's API.
#[derive(Debug)]
pub(crate) struct Event {
    /// `container`, `image`, `network`, `volume`.
    pub(crate) kind: &'static str,
    pub(crate) action: String,
    pub(crate) id: String,
    pub(crate) attributes: Map<String, Value>,
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
}

/// The bus; copies are the same bus.
#[derive(Debug, Clone)]
pub(crate) struct EventBus {
    events: broadcast::Sender<Arc<Event>>,
    past: Arc<Mutex<VecDeque<Arc<Event>>>>,
    execs: broadcast::Sender<(String, i32)>,
}

impl Default for EventBus {
    fn default() -> EventBus {
        EventBus {
            events: broadcast::channel(CAPACITY).0,
            past: Arc::default(),
            execs: broadcast::channel(CAPACITY).0,
        }
    }
}

impl Event {
    /// As a client gets it.
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({
            "Type": self.kind, "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "scope": "local", "time": self.time / 1_000_000_000, "timeNano": self.time,
        });
        if self.kind == "container" {
            value["status"] = json!(self.action);
            value["id"] = json!(self.id);
            value["from"] = self.attributes.get("image").cloned().unwrap_or_default();
        }
        value
    }
}

impl EventBus {
    /// Listens from now on, with what is kept from before.
    pub(crate) fn listen(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.iter().cloned().collect(), self.events.subscribe())
    }

    /// Ends of processes in containers: (the id that PID 1 gave it, exit code).
    pub(crate) fn listen_to_execs(&self) -> broadcast::Receiver<(String, i32)> {
        self.execs.subscribe()
    }

    pub(super) fn exec_ended(&self, exec: &str, exit_code: i32) {
        // Without a listener no client waits for it.
        let _ = self.execs.send((exec.to_owned(), exit_code));
    }

    /// Publishes an event.
    pub(crate) fn emit(&self, kind: &'static str, action: &str, id: &str, attributes: Value) {
        let time = nanos(time::now());
        let attributes = attributes.as_object().cloned().unwrap_or_default();
        self.publish(Event {
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
            time,
        });
    }

    /// Publishes an event of a container.
    pub(crate) fn container(
        &self,
        action: &str,
        snapshot: &Snapshot,
        time: Duration,
        detail: Option<(&str, String)>,
    ) {
        let mut attributes = of_container(snapshot);
        if action == "die" {
            attributes.insert("exitCode".to_owned(), json!(snapshot.status.exit_code.to_string()));
            let (started, finished) = (snapshot.status.started, snapshot.status.finished);
            let duration = finished.unwrap_or_default().saturating_sub(started.unwrap_or_default());
            attributes.insert("execDuration".to_owned(), json!(duration.as_secs().to_string()));
        }
        if let Some((key, value)) = detail {
            attributes.insert(key.to_owned(), json!(value));
        }
        let (kind, action) = ("container", action.to_owned());
        self.publish(Event {
            kind,
            action,
            id: snapshot.id.clone(),
            attributes,
            time: nanos(time),
        });
    }

    fn publish(&self, event: Event) {
        let event = Arc::new(event);
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == CAPACITY {
            past.pop_front();
        }
        past.push_back(Arc::clone(&event));
        let _ = self.events.send(event);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(0)
}

/// What Docker reports of the container of an event: its labels, its name and its image.
pub(crate) fn of_container(snapshot: &Snapshot) -> Map<String, Value> {
    let mut attributes: Map<String, Value> =
        snapshot.spec.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    attributes.insert("name".to_owned(), json!(snapshot.spec.name));
    attributes.insert("image".to_owned(), json!(snapshot.spec.image));
    attributes
}
