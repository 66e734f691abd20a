//! Moments of this process's clock, as the next process can take them over: by how long ago they were.

use std::time::{Duration, Instant};

/// Milliseconds since a moment.
pub(super) fn since(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The moment so many milliseconds ago; now, if the clock does not reach back so far.
pub(super) fn ago(millis: u64) -> Instant {
    Instant::now().checked_sub(Duration::from_millis(millis)).unwrap_or_else(Instant::now)
}
