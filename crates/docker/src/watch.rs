//! Waiting for containers, by the events of their engine.

use super::client::{Client, segment};
use super::error::Error;
use super::http::{Answer, Piece};
use super::model::Summary;
use anyhow::Result;
use corral_machine::deadline::pause;
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pause between attempts to get events from an engine that does not answer.
const PAUSE: Duration = Duration::from_millis(250);
/// Interval of checks without an event: a timeout, for example, sends none.
const RECHECK: Duration = Duration::from_secs(2);
/// The events after which a list of containers is another one.
const CHANGES: [&str; 5] = ["create", "start", "die", "destroy", "rename"];
/// How long more events of a group are waited for.
const QUIET: Duration = Duration::from_millis(100);

impl Client {
    /// Calls `check` at once, and again after each event of these containers, or of all if none is
    /// named. Returns when that returns something or an error. None when the deadline has passed.
    /// An engine that stops answering may come back until then.
    pub fn watch<T>(
        &self,
        containers: &[&str],
        deadline: Instant,
        mut check: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            // Subscribes first, so that no event is missed between a check and the wait after it.
            let mut events = self.events(containers);
            loop {
                let found = check()?;
                if found.is_some() || Instant::now() >= deadline {
                    return Ok(found);
                }
                let wake = deadline.min(Instant::now() + RECHECK);
                if !events.as_mut().is_ok_and(|events| events.wait(wake)) {
                    break;
                }
            }
            // No event reports that an engine answers again.
            pause(PAUSE);
        }
    }

    /// Calls `take` with every container: at once, and again after events that change the list or
    /// the state of one. Returns when `take` returns false or the engine sends no more events.
    pub fn follow(&self, mut take: impl FnMut(Vec<Summary>) -> bool) -> Result<(), Error> {
        let filters = json!({"type": ["container"], "event": CHANGES}).to_string();
        let mut events = self.listen(&format!("/events?filters={}", segment(&filters)))?;
        // Docker answers before it has subscribed itself. What comes in between is seen soon.
        let mut wake = Some(Instant::now() + RECHECK);
        while take(self.containers()?) {
            match events.piece(wake)? {
                Piece::Data(_) => {}
                Piece::Late => {
                    wake = None;
                    continue;
                }
                Piece::End => return Ok(()),
            }
            // Events come in groups; one list is enough for all of them.
            let quiet = Instant::now() + QUIET;
            while matches!(events.piece(Some(quiet))?, Piece::Data(_)) {}
        }
        Ok(())
    }

    fn events(&self, containers: &[&str]) -> Result<Events<'_>, Error> {
        let mut filters = json!({"type": ["container"]});
        if !containers.is_empty() {
            filters["container"] = json!(containers);
        }
        let filters = filters.to_string();
        // Docker answers before it has subscribed itself: `since` includes what comes in between.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let path = format!("/events?since={since}&filters={}", segment(&filters));
        self.listen(&path).map(Events)
    }
}

/// Events as they come.
#[derive(Debug)]
struct Events<'a>(Answer<'a>);

impl Events<'_> {
    /// Returns after an event or at `until`; false when no more events come.
    fn wait(&mut self, until: Instant) -> bool {
        matches!(self.0.piece(Some(until)), Ok(Piece::Data(_) | Piece::Late))
    }
}
