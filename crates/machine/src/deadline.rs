//! Deadlines of waits whose length comes from elsewhere: a configuration, a client, an image. No
//! length makes the clock overflow.

use rustix::event::{PollFd, Timespec};
use rustix::io::{Errno, Result};
use std::time::{Duration, Instant};

/// No wait is longer; a caller that requests more does not want it to end.
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

/// Waits until one of them is ready; false if none is by the deadline. Without one, this waits as
/// long as it takes.
pub fn poll(watched: &mut [PollFd<'_>], deadline: impl Into<Option<Instant>>) -> Result<bool> {
    let deadline = deadline.into();
    loop {
        let timeout = deadline.map(left);
        if timeout == Some(None) {
            return Ok(false);
        }
        match rustix::event::poll(watched, timeout.flatten().as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            ready => return ready.map(|_| true),
        }
    }
}

/// Waits for so long, where there is nothing that could be waited for: each caller says why.
pub fn pause(time: Duration) {
    // With nothing to watch poll(2) fails only if memory runs out: then the pause is short.
    let _ = poll(&mut [], after(time));
}

/// A length of time as poll(2) takes it, to the nanosecond.
pub fn timespec(wait: Duration) -> Timespec {
    let wait = wait.min(LONGEST);
    Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::PollFlags;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_wait_of_any_length_has_an_end() {
        for wait in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_secs(i64::MAX.unsigned_abs()),
        ] {
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

    #[test]
    fn a_pause_is_no_shorter_than_it_should_be() {
        let begin = Instant::now();
        pause(Duration::from_millis(20));
        assert!(begin.elapsed() >= Duration::from_millis(20));
        pause(Duration::ZERO);
    }

    #[test]
    fn a_wait_is_over_at_its_deadline_or_when_there_is_something() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let end = Instant::now() + Duration::from_millis(20);
        assert!(!poll(&mut [PollFd::new(&ours, PollFlags::IN)], end).unwrap());
        assert!(Instant::now() >= end);
        theirs.write_all(b"x").unwrap();
        assert!(poll(&mut [PollFd::new(&ours, PollFlags::IN)], None).unwrap());
        assert!(poll(&mut [PollFd::new(&ours, PollFlags::IN)], after(Duration::MAX)).unwrap());
        assert!(
            !poll(&mut [PollFd::new(&ours, PollFlags::IN)], end).unwrap(),
            "what comes too late"
        );
    }
}
