//! `POST /containers/ID/wait`, and the end of a container that was killed.

use super::error::ApiError;
use super::query::{Parameters, Parts, id_of, text};
use super::state::State;
use super::stream::streamed;
use crate::bus::Event;
use crate::shared::Shared;
use axum::body::Bytes;
use axum::response::Response;
use corral_engine::error::EngineError;
use corral_engine::spec::Snapshot;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The longest that `kill` waits for the end of the container.
const KILL_TIME: Duration = Duration::from_secs(10);

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

impl Condition {
    fn parse(text: &str) -> Result<Condition, EngineError> {
        match text {
            "" | "not-running" => Ok(Condition::NotRunning),
            "next-exit" => Ok(Condition::NextExit),
            "removed" => Ok(Condition::Removed),
            other => Err(EngineError::BadRequest(format!("invalid condition: {other:?}"))),
        }
    }

    /// A container that ends without being removed.
    fn is_met_by_an_exit(self) -> bool {
        self != Condition::Removed
    }
}

/// Answers when the container has ended (or is gone), with its exit code. The head of the answer
/// goes out at once, so that the client knows that the rest follows.
pub(super) async fn wait(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let shared = state.0;
    // Listen first: an end between the look and the wait is then in the queue.
    let (_, events) = shared.bus.listen();
    let container = shared.find(id_of(&parts))?;
    let condition = Condition::parse(text(&parameters, "condition"))?;
    let answer = async move {
        let code = exit_code(&shared, &container, condition, events).await;
        Ok::<Bytes, Infallible>(Bytes::from(json!({"StatusCode": code}).to_string()))
    };
    Ok(streamed("application/json", futures_util::stream::once(answer)))
}

/// The exit code of a container, once the condition is met or the container is gone.
async fn exit_code(
    shared: &Shared,
    container: &Snapshot,
    condition: Condition,
    mut events: Receiver<Arc<Event>>,
) -> i64 {
    let mut code = i64::from(container.status.exit_code);
    if condition == Condition::NotRunning && container.status.is_down() {
        return code;
    }
    loop {
        match events.recv().await {
            Ok(event) if event.kind == "container" && event.id == container.id => {
                code = code_of(&event).unwrap_or(code);
                let is_exit = event.action == "die" && condition.is_met_by_an_exit();
                if is_exit || event.action == "destroy" {
                    return code;
                }
            }
            Ok(_) => {}
            // So many events occurred that its end may be among those that were missed.
            Err(RecvError::Lagged(_)) => {
                let now = shared.table.get(&container.id);
                if let Some(code) = missed_end(container, now.as_deref(), condition, code) {
                    return code;
                }
            }
            Err(RecvError::Closed) => return code,
        }
    }
}

fn code_of(event: &Event) -> Option<i64> {
    event.attributes.get("exitCode").and_then(Value::as_str)?.parse().ok()
}

/// The exit code, if the container has met the condition since it was looked at. `known`: the code
/// of the last event.
fn missed_end(
    before: &Snapshot,
    now: Option<&Snapshot>,
    condition: Condition,
    known: i64,
) -> Option<i64> {
    let Some(now) = now else { return Some(known) };
    let has_ended = now.status.finished > before.status.finished;
    (has_ended && condition.is_met_by_an_exit()).then(|| now.status.exit_code.into())
}

/// Waits until a container that was killed is down, or gone; not for ever.
pub(super) async fn until_down(shared: &Shared, id: &str, mut events: Receiver<Arc<Event>>) {
    let down = async {
        while shared.table.get(id).is_some_and(|now| now.status.is_up()) {
            if let Err(RecvError::Closed) = events.recv().await {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(KILL_TIME, down).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::spec::{ContainerSpec, State, Status};

    fn container(finished: Option<u64>, exit_code: i32) -> Snapshot {
        let finished = finished.map(Duration::from_secs);
        let status = Status { state: State::Exited, finished, exit_code, ..Status::default() };
        Snapshot { id: "1".to_owned(), spec: ContainerSpec::default(), status }
    }

    #[test]
    fn an_end_that_was_missed_is_seen_in_the_table() {
        let (before, ended) = (container(None, 0), container(Some(1), 3));
        let missed = |now, condition| missed_end(&before, now, condition, 7);
        for condition in [Condition::NotRunning, Condition::NextExit] {
            assert_eq!(missed(Some(&ended), condition), Some(3));
            assert_eq!(missed(Some(&before), condition), None);
            assert_eq!(missed(None, condition), Some(7), "it is gone");
        }
        assert_eq!(missed(Some(&ended), Condition::Removed), None);
        assert_eq!(missed(None, Condition::Removed), Some(7));
        assert!(Condition::parse("soon").is_err());
    }
}
