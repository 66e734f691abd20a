//! Deadlines of waits whose length others say: a configuration, a client, an image. No length makes the clock overflow.

use rustix::event::Timespec;
use std::time::{Duration, Instant};

/// No wait is longer; who asks for more does not want it to end.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The moment so long after now, at most a year.
pub fn after(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST)
}

/// What is left until a moment, as poll(2) takes it; None once it has passed.
pub fn left(deadline: Instant) -> Option<Timespec> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then(|| timespec(left))
}

/// A length of time as poll(2) takes it, to the nanosecond.
pub fn timespec(wait: Duration) -> Timespec {
    let wait = wait.min(LONGEST);
    Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_any_length_has_an_end() {
        for wait in
            [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(i64::MAX.unsigned_abs())]
        {
            assert!(after(wait) <= Instant::now() + LONGEST, "{wait:?}");
            assert_eq!(timespec(wait).tv_sec, LONGEST.as_secs().cast_signed());
        }
        assert!(after(Duration::from_secs(5)) <= Instant::now() + Duration::from_secs(5));
    }

    #[test]
    fn the_last_second_is_waited_for_and_not_polled_away() {
        let nearly = left(Instant::now() + Duration::from_millis(900)).unwrap();
        assert_eq!(nearly.tv_sec, 0);
        assert!(nearly.tv_nsec > 100_000_000, "{nearly:?}");
        assert_eq!(left(Instant::now()), None);
    }
}
