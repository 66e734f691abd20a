//! The time of day, and how Docker writes it: RFC 3339 in UTC.

use chrono::{DateTime, SecondsFormat};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999: RFC 3339 has four digits for the year, and Docker's clients
/// read no more.
const LAST: u64 = 253_402_300_799;

/// A time as RFC 3339 in UTC with nanoseconds.
pub fn rfc3339(time: Duration) -> String {
    let seconds = time.as_secs().min(LAST).cast_signed();
    let utc = DateTime::from_timestamp(seconds, time.subsec_nanos()).unwrap_or_default();
    utc.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// `2026-11-23T05:00:00.5Z`, or with `+01:00` in the place of Z; None for anything else, and for a
/// time before 1970.
pub fn parse_rfc3339(text: &str) -> Option<Duration> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Duration::new(u64::try_from(time.timestamp()).ok()?, time.timestamp_subsec_nanos()))
}

/// The time now, since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_written_as_docker_does() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000005Z"),
            (68_255_999, "1972-02-29T23:59:59.000000005Z"),
            (951_782_400, "2000-02-29T00:00:00.000000005Z"),
            (1_700_000_000, "2023-11-14T22:13:20.000000005Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000005Z"),
            (LAST, "9999-12-31T23:59:59.000000005Z"),
            (u64::MAX, "9999-12-31T23:59:59.000000005Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(rfc3339(Duration::new(seconds, 5)), expected);
        }
    }

    #[test]
    fn what_is_no_time_since_1970_is_not_taken() {
        let good = [
            ("2023-11-14T23:13:20.25+01:00", 1_700_000_000),
            ("2023-11-14t22:13:20z", 1_700_000_000),
        ];
        for (text, seconds) in good {
            assert_eq!(parse_rfc3339(text).map(|time| time.as_secs()), Some(seconds), "{text}");
        }
        for text in [
            "1969-12-31T23:59:59Z",
            "2023-02-29T00:00:00Z",
            "2023-11-14T22:13:20",
            "2023-11-14",
            "",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_written_is_read_again(seconds in 0..=LAST, nanos in 0..1_000_000_000_u32) {
            let time = Duration::new(seconds, nanos);
            let text = rfc3339(time);
            prop_assert_eq!(text.len(), 30);
            prop_assert_eq!(parse_rfc3339(&text), Some(time));
        }
    }
}
