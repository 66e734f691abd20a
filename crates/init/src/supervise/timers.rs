//! What comes at a certain time, each at most once: setting it again moves it.

use corral_machine::deadline;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What comes at a certain time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Timer {
    /// The backoff before the restart of a container is over.
    #[serde(alias = "PauseOver")]
    BackoffOver(String),
    /// The grace of a container that was requested to stop is over.
    GraceOver(String),
    /// A helper takes too long.
    HelperLate(i32),
    /// Start the engine daemon again.
    StartDaemon,
    /// The change with this id should have been confirmed by now.
    ConfirmLate(String),
    /// The output of the resolver should be complete by now.
    ResolverLate,
    /// The containers should have ended by now, for the machine shuts down.
    ShutdownLate,
    /// There may be a descriptor for another client again.
    Accept,
    /// Children may have ended while PID 1 was replaced.
    Reap,
}

/// Those that are set.
#[derive(Debug, Default)]
pub(super) struct Timers(Vec<(Instant, Timer)>);

/// Those that are set, each with the milliseconds that are left.
pub(super) type Saved = Vec<(u64, Timer)>;

impl Timers {
    pub(super) fn set(&mut self, after: Duration, timer: Timer) {
        self.clear(&timer);
        self.0.push((deadline::after(after), timer));
    }

    pub(super) fn clear(&mut self, timer: &Timer) {
        self.0.retain(|(_, other)| other != timer);
    }

    /// Clears those that are meant.
    pub(super) fn clear_all(&mut self, are_meant: impl Fn(&Timer) -> bool) {
        self.0.retain(|(_, timer)| !are_meant(timer));
    }

    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.0.iter().any(|(_, other)| other == timer)
    }

    /// How long until this one, if it is set.
    pub(super) fn left_of(&self, timer: &Timer) -> Option<Duration> {
        let (at, _) = self.0.iter().find(|(_, other)| other == timer)?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// How long until the next one.
    pub(super) fn left(&self) -> Option<Duration> {
        let next = self.0.iter().map(|(at, _)| *at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Takes the first whose time has come at `now`. One at a time: what follows from it may clear
    /// the next.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = self.0.iter().enumerate().filter(|(_, (at, _))| *at <= now);
        let (first, _) = due.min_by_key(|(_, (at, _))| *at)?;
        Some(self.0.remove(first).1)
    }

    pub(super) fn save(&self) -> Saved {
        let now = Instant::now();
        let left = |at: Instant| u64::try_from(at.saturating_duration_since(now).as_millis());
        self.0.iter().map(|(at, timer)| (left(*at).unwrap_or(u64::MAX), timer.clone())).collect()
    }

    pub(super) fn restore(saved: Saved) -> Timers {
        let set = |(left, timer)| (deadline::after(Duration::from_millis(left)), timer);
        Timers(saved.into_iter().map(set).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn backoff(id: u8) -> Timer {
        Timer::BackoffOver(id.to_string())
    }

    #[test]
    fn those_that_are_due_come_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        timers.set(LONG, backoff(1));
        timers.set(Duration::ZERO, Timer::Reap);
        timers.set(LONG / 2, backoff(2));
        assert_eq!(timers.left(), Some(Duration::ZERO));
        assert_eq!(timers.take_due(Instant::now()), Some(Timer::Reap));
        assert_eq!(timers.take_due(Instant::now()), None);
        assert!(timers.left().is_some_and(|left| left > LONG / 4 && left <= LONG / 2));
        let late = Instant::now() + LONG;
        assert_eq!(timers.take_due(late), Some(backoff(2)));
        assert_eq!(timers.take_due(late), Some(backoff(1)));
        assert_eq!(timers.left(), None);
    }

    #[test]
    fn a_length_without_end_is_a_length_all_the_same() {
        let mut timers = Timers::default();
        timers.set(Duration::MAX, Timer::ShutdownLate);
        let mut restored = Timers::restore(timers.save());
        assert!(restored.is_set(&Timer::ShutdownLate));
        assert_eq!(restored.take_due(Instant::now()), None);
    }

    proptest! {
        /// In any sequence of setting and clearing, each is there once at most. None is lost on the
        /// way to the next process.
        #[test]
        fn each_is_set_once_or_not_at_all(steps: Vec<(u8, Option<bool>)>) {
            let (mut timers, mut expected) = (Timers::default(), std::collections::BTreeSet::new());
            for (id, step) in steps {
                match step {
                    Some(is_due) => {
                        timers.set(if is_due { Duration::ZERO } else { LONG }, backoff(id));
                        expected.insert((backoff(id), is_due));
                        expected.remove(&(backoff(id), !is_due));
                    }
                    None => {
                        timers.clear(&backoff(id));
                        expected.retain(|(timer, _)| *timer != backoff(id));
                    }
                }
                timers = Timers::restore(timers.save());
            }
            let now = Instant::now();
            let due: Vec<Timer> = std::iter::from_fn(|| timers.take_due(now)).collect();
            let wanted = expected.iter().filter(|(_, is_due)| *is_due);
            prop_assert_eq!(due.len(), wanted.clone().count());
            for (timer, _) in wanted {
                prop_assert!(due.contains(timer));
            }
            for (timer, _) in expected.iter().filter(|(_, is_due)| !*is_due) {
                prop_assert!(timers.is_set(timer));
            }
        }
    }
}
