//! The progress of a pull or a push, as a client of the API gets it.

use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

/// Where progress goes: one JSON object of Docker's each. A client that hung up does not end the
/// work.
#[derive(Debug, Clone)]
pub struct Progress(Option<Sender<Value>>);

impl Progress {
    /// To a client that listens.
    pub fn to(sender: Sender<Value>) -> Progress {
        Progress(Some(sender))
    }

    /// To no client.
    pub fn silent() -> Progress {
        Progress(None)
    }

    pub(super) async fn send(&self, value: Value) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(value).await;
        }
    }

    pub(super) async fn step(&self, id: &str, status: &str) {
        self.send(json!({"status": status, "progressDetail": {}, "id": id})).await;
    }

    pub(super) async fn count(&self, id: &str, status: &str, (current, total): (u64, u64)) {
        let progress = format!("{:.1}MB/{:.1}MB", current as f64 / 1e6, total as f64 / 1e6);
        let detail = json!({"current": current, "total": total});
        self.send(
            json!({"status": status, "progressDetail": detail, "progress": progress, "id": id}),
        )
        .await;
    }
}
