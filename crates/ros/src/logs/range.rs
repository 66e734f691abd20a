//! A range of time.

use std::time::Duration;

/// Which lines are shown, by their time since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range {
    pub(super) since: Option<Duration>,
    pub(super) until: Option<Duration>,
}

impl Range {
    pub(super) fn contains(&self, time: Duration) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}
