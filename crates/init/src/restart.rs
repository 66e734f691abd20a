//! When an ended container is started again, and after how long.

use corral_engine::spec::RestartPolicy;
use std::time::Duration;

/// A container that ran this long was up: the next failure begins at the shortest pause again.
pub const STABLE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause before a start, after so many failures in a row: 0.1 s, then twice as long each time,
/// at most a minute.
pub fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.min(20))).min(LONGEST_PAUSE)
}

/// Whether the policy wants another start after this end.
pub fn wanted(policy: RestartPolicy, exit_code: i32, restarts: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(limit) => {
            exit_code != 0 && limit.is_none_or(|limit| restarts < limit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<u128> =
            [0, 1, 2, 9, 10, 4_000_000_000].iter().map(|n| pause(*n).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 51_200, 60_000, 60_000]);
    }

    #[test]
    fn policies_decide() {
        let cases = [
            (RestartPolicy::No, 1, 0, false),
            (RestartPolicy::Always, 0, 9, true),
            (RestartPolicy::OnFailure(Some(2)), 1, 1, true),
            (RestartPolicy::OnFailure(Some(2)), 1, 2, false),
            (RestartPolicy::OnFailure(None), 0, 0, false),
        ];
        for (policy, code, restarts, expected) in cases {
            assert_eq!(wanted(policy, code, restarts), expected, "{policy:?} {code} {restarts}");
        }
    }
}
