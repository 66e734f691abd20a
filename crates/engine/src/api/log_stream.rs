//! `GET /containers/{id}/logs`: what is in the log, then with `follow` what comes.

use super::State;
use super::containers::id_of;
use crate::daemon::blocking;
use crate::error::EngineError;
use crate::logs::{self, Entry};
use crate::paths;
use crate::protocol::Event;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// What of a log is wanted, and how.
#[derive(Debug, Clone)]
struct Wanted {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    /// Frames with a header of 8 bytes, as for every container without a tty.
    framed: bool,
    since: String,
}

impl Wanted {
    /// The bytes of a line, or None if it is not wanted.
    fn render(&self, entry: &Entry) -> Option<Bytes> {
        let is_stderr = entry.stream == "stderr";
        if (is_stderr && !self.stderr) || (!is_stderr && !self.stdout) || entry.time < self.since {
            return None;
        }
        let text = if self.timestamps { format!("{} {}", entry.time, entry.log) } else { entry.log.clone() };
        Some(if self.framed {
            frame(if is_stderr { 2 } else { 1 }, text.as_bytes())
        } else {
            Bytes::from(text)
        })
    }
}

/// A frame of Docker's multiplexed stream: kind, three zeros, length (big endian), data.
pub(super) fn frame(kind: u8, data: &[u8]) -> Bytes {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![kind, 0, 0, 0];
    frame.extend_from_slice(&length);
    frame.extend_from_slice(data);
    Bytes::from(frame)
}

pub(super) async fn logs(
    state: State,
    ids: Path<HashMap<String, String>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Response, EngineError> {
    let (shared, id) = (state.0, id_of(&ids));
    let is_true = |name: &str| parameters.get(name).is_some_and(|value| value == "1" || value == "true");
    // Subscribe before reading: a line in between is then in the queue, and told apart by its time.
    let (lines, events) = (shared.lines.subscribe(), shared.events.subscribe());
    let looking = Arc::clone(&shared);
    let container = blocking(move || looking.client.inspect(&id)).await?;
    let seconds: f64 = parameters.get("since").and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let wanted = Wanted {
        stdout: is_true("stdout"),
        stderr: is_true("stderr"),
        timestamps: is_true("timestamps"),
        framed: !container.spec.tty,
        since: logs::rfc3339(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
    };
    let entries = logs::read_all(&paths::log(&container.id));
    let tail = parameters.get("tail").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    let last = entries.last().map(|entry| entry.time.clone()).unwrap_or_default();
    let old: Vec<Bytes> = entries.iter().filter_map(|entry| wanted.render(entry)).collect();
    let old: Vec<_> =
        old[old.len().saturating_sub(tail)..].iter().cloned().map(Ok::<_, Infallible>).collect();
    let content_type = if wanted.framed {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    };
    let headers = [("Content-Type", content_type)];
    if !is_true("follow")
        || !["running", "starting", "stopping", "restarting"].contains(&container.state.as_str())
    {
        return Ok((headers, Body::from_stream(stream::iter(old))).into_response());
    }
    let follower = Follower { id: container.id, wanted, last, lines, events };
    let new = stream::unfold(follower, |mut follower| async move {
        let line = follower.next().await?;
        Some((Ok::<Bytes, Infallible>(line), follower))
    });
    Ok((headers, Body::from_stream(stream::iter(old).chain(new))).into_response())
}

struct Follower {
    id: String,
    wanted: Wanted,
    /// Time of the last line that was read from the file.
    last: String,
    lines: broadcast::Receiver<(String, Entry)>,
    events: broadcast::Receiver<Event>,
}

impl Follower {
    /// The next line of this container; None when it has ended.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                line = self.lines.recv() => match line {
                    Ok((id, entry)) if id == self.id && entry.time > self.last => {
                        if let Some(bytes) = self.wanted.render(&entry) {
                            return Some(bytes);
                        }
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                event = self.events.recv() => match event {
                    Ok(Event::Container { id, action, .. }) if id == self.id && action == "die" => return None,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }
}
