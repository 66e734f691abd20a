//! `GET /containers/{id}/logs`: what is in the log, then with `follow` what comes. A follower reads
//! the file itself: it loses nothing, however slow it is.

use super::error::ApiError;
use super::moment;
use super::query::{Parameters, Parts, id_of, is_true, text};
use super::state::State;
use super::stream::{frame, media_type, streamed};
use crate::blocking::blocking;
use crate::hub::Hub;
use crate::logs::{self, Entry, Tail};
use crate::shared::Shared;
use axum::body::Bytes;
use axum::response::Response;
use corral_engine::error::EngineError;
use corral_engine::paths;
use corral_engine::spec::{self, Snapshot};
use corral_engine::time;
use futures_util::StreamExt;
use futures_util::stream;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What of a log is requested, and in which form.
#[derive(Debug, Clone)]
struct LogRequest {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    /// Frames with a header of 8 bytes, as for every container without a tty.
    framed: bool,
    since: String,
    until: String,
}

impl LogRequest {
    /// The bytes of a line, or None if it was not requested.
    fn render(&self, entry: &Entry) -> Option<Bytes> {
        let is_stderr = entry.stream == "stderr";
        let in_time =
            entry.time >= self.since && (self.until.is_empty() || entry.time <= self.until);
        if (is_stderr && !self.stderr) || (!is_stderr && !self.stdout) || !in_time {
            return None;
        }
        let text = if self.timestamps {
            format!("{} {}", entry.time, entry.log)
        } else {
            entry.log.clone()
        };
        Some(if self.framed {
            frame(if is_stderr { 2 } else { 1 }, text.as_bytes())
        } else {
            Bytes::from(text)
        })
    }
}

pub(super) async fn logs(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let shared = state.0;
    let container = shared.find(id_of(&parts))?;
    let moment = |name: &str| match text(&parameters, name) {
        "" | "0" => Ok(String::new()),
        text => moment::parse(text).map(time::rfc3339),
    };
    let wanted = LogRequest {
        stdout: is_true(&parameters, "stdout"),
        stderr: is_true(&parameters, "stderr"),
        timestamps: is_true(&parameters, "timestamps"),
        framed: !container.spec.tty,
        since: moment("since")?,
        until: moment("until")?,
    };
    if !wanted.stdout && !wanted.stderr {
        return Err(
            EngineError::BadRequest("you must choose at least one stream".to_owned()).into()
        );
    }
    let tail = text(&parameters, "tail").parse().unwrap_or(usize::MAX);
    let path = paths::log(&container.id);
    let follow = is_true(&parameters, "follow");
    let (reading, filter) = (path.clone(), wanted.clone());
    // The end is marked before the lines are read: only the follower reads a line in between.
    let (old, new_lines) = blocking(move || {
        let new_lines = follow.then(|| Tail::from_end(&reading));
        let until = new_lines.as_ref().map(Tail::position);
        Ok((read_last(&reading, tail, until, &filter), new_lines))
    })
    .await?;
    let old = stream::iter(old.into_iter().map(Ok));
    let Some(tail) = new_lines else { return Ok(streamed(media_type(wanted.framed), old)) };
    let hub = shared.hubs.get(&container.id);
    let changes = hub.watch();
    let id = container.id.clone();
    let framed = wanted.framed;
    let follower = Follower { shared, id, hub, changes, tail, wanted, ready: VecDeque::new() };
    let new = stream::unfold(follower, |mut follower| async move {
        let bytes = follower.next().await?;
        Some((Ok(bytes), follower))
    });
    Ok(streamed(media_type(framed), old.chain(new)))
}

/// The last lines of a log; with a follower only those before it begins.
fn read_last(
    path: &std::path::Path,
    tail: usize,
    until: Option<u64>,
    wanted: &LogRequest,
) -> Vec<Bytes> {
    let lines: Vec<Bytes> =
        logs::read_before(path, until).iter().filter_map(|entry| wanted.render(entry)).collect();
    lines[lines.len().saturating_sub(tail)..].to_vec()
}

struct Follower {
    shared: Arc<Shared>,
    id: String,
    hub: Arc<Hub>,
    changes: watch::Receiver<u64>,
    tail: Tail,
    wanted: LogRequest,
    ready: VecDeque<Bytes>,
}

impl Follower {
    /// The next lines of this container; None when it has ended and all that it wrote was read.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            // What changes from here on wakes us; what changed before is read now.
            self.changes.mark_unchanged();
            let is_over = self.is_over();
            self.ready
                .extend(self.tail.read().iter().filter_map(|entry| self.wanted.render(entry)));
            if !self.ready.is_empty() {
                continue;
            }
            if is_over {
                return None;
            }
            let changed = self.changes.changed();
            // The hub of a container that is gone wakes no client.
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_secs(30), changed).await {
                return None;
            }
        }
    }

    fn is_over(&self) -> bool {
        let may_write = |container: Arc<Snapshot>| container.status.state != spec::State::Exited;
        !self.shared.table.get(&self.id).is_some_and(may_write) && !self.hub.is_open()
    }
}
