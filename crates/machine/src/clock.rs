//! Waiting for the clock to be set: the kernel reports a step of its time, such as the first one of
//! a time service. <https://man7.org/linux/man-pages/man2/timerfd_create.2.html>

use crate::deadline;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::os::fd::OwnedFd;
use std::time::Instant;

const WATCHING: &str = "watching the clock";

/// Reports that the clock was set since it was made.
#[derive(Debug)]
pub struct ClockWatch(OwnedFd);

impl ClockWatch {
    /// Begins to watch.
    pub fn new() -> Result<ClockWatch> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC);
        let timer = timer.context(WATCHING)?;
        // A timer of the far future: it becomes readable when the clock is set.
        let never = Timespec { tv_sec: 9_000_000_000, tv_nsec: 0 };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let setting = Itimerspec { it_interval: zero, it_value: never };
        timerfd_settime(&timer, flags, &setting).context(WATCHING)?;
        Ok(ClockWatch(timer))
    }

    /// Waits until the clock is set; false if it is not by the deadline.
    pub fn wait(&self, deadline: Instant) -> Result<bool> {
        deadline::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], deadline).context(WATCHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_that_is_not_set_is_waited_for_until_the_deadline() {
        let end = Instant::now() + Duration::from_millis(20);
        assert!(!ClockWatch::new().unwrap().wait(end).unwrap());
        assert!(Instant::now() >= end);
    }
}
