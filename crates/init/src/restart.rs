//! When an ended container is started again, and after how long.

use corral_engine::spec::RestartPolicy;
use std::time::Duration;

/// A container that ran this long was up: the next failure begins at the shortest backoff again.
pub const STABLE: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The backoff before a start, after so many failures in a row: 0.1 s, then twice as long each
/// time, at most a minute.
pub fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures.min(20))).min(LONGEST_BACKOFF)
}

/// Does the policy require another start after this exit?.
pub fn is_due(policy: RestartPolicy, exit_code: i32, restarts: u32) -> bool {
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
    fn backoffs_double_up_to_a_minute() {
        let backoffs: Vec<u128> =
            [0, 1, 2, 9, 10, 4_000_000_000].iter().map(|n| backoff(*n).as_millis()).collect();
        assert_eq!(backoffs, [100, 200, 400, 51_200, 60_000, 60_000]);
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
            assert_eq!(is_due(policy, code, restarts), expected, "{policy:?} {code} {restarts}");
        }
    }
}
