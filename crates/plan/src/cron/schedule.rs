//! When a container is to be started.

use super::calendar::Calendar;
use std::time::Duration;

/// The value of the label `cron.schedule`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At times of the calendar, in local time.
    At(Calendar),
    /// `@every`: at this interval.
    Every(Duration),
    /// `@reboot`: once in each boot.
    Reboot,
}
