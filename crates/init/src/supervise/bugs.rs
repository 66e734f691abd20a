//! How often PID 1 may meet a bug and go on. After some in a row the bug comes with each turn of
//! the loop. Then a restart of the machine helps (docs/decisions/0008).

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// So many bugs are survived within [`WINDOW`]; the next one is one too many.
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// When PID 1 met its last bugs, in microseconds since the kernel started; oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Bugs(Vec<u64>);

/// What follows from a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// PID 1 goes on in a new process.
    GoOn,
    /// The machine restarts.
    GiveUp,
}

impl Bugs {
    /// Decides about a bug that was met now.
    pub(super) fn met(&mut self, now: u64) -> Verdict {
        let window = u64::try_from(WINDOW.as_micros()).unwrap_or(u64::MAX);
        self.0.retain(|time| now.saturating_sub(*time) < window);
        if self.0.len() >= MOST {
            return Verdict::GiveUp;
        }
        self.0.push(now);
        Verdict::GoOn
    }
}

/// In builds for tests each turn has a bug as long as a test leaves a file there.
#[cfg(feature = "test-hooks")]
#[expect(clippy::panic, reason = "this is the bug that tests ask for")]
pub(super) fn break_if_requested() {
    if std::path::Path::new("/run/corral/broken").exists() {
        panic!("a test asked for it in each turn");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts on bugs at these times, in tenths of a second.
    fn verdicts(times: &[u64]) -> Vec<Verdict> {
        let mut bugs = Bugs::default();
        times.iter().map(|time| bugs.met(time * 100_000)).collect()
    }

    #[test]
    fn the_sixth_bug_within_ten_seconds_is_one_too_many() {
        let found = verdicts(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(found[..5], [Verdict::GoOn; 5]);
        assert_eq!(found[5], Verdict::GiveUp);
    }

    #[test]
    fn bugs_that_are_far_apart_are_survived_for_ever() {
        let times: Vec<u64> = (0..1000).map(|number| number * 20).collect();
        assert!(verdicts(&times).iter().all(|verdict| *verdict == Verdict::GoOn));
    }

    #[test]
    fn the_window_moves() {
        // The first is forgotten at ten seconds sharp.
        let found = verdicts(&[0, 90, 91, 92, 93, 100, 101]);
        assert_eq!(found[5..], [Verdict::GoOn, Verdict::GiveUp]);
    }

    #[test]
    fn the_next_process_knows_what_was_handed_over() {
        let mut bugs = Bugs::default();
        for time in 0..5 {
            let text = serde_json::to_string(&bugs).unwrap();
            bugs = serde_json::from_str(&text).unwrap();
            assert_eq!(bugs.met(time), Verdict::GoOn);
        }
        assert_eq!(bugs.met(5), Verdict::GiveUp);
    }
}
