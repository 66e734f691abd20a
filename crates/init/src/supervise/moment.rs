//! Moments that mean the same to the process that PID 1 executes next: they come from a clock of
//! the kernel.

use crate::trace;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Microseconds since the kernel started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn now() -> Moment {
        Moment(trace::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        Duration::from_micros(trace::now().saturating_sub(self.0))
    }
}
