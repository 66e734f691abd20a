//! Lengths of time as people write them: in keys, in flags, in compose files.

use std::time::Duration;

/// `90s`, `10m`, `1h30m`, `1.5s`, `500ms`, or a number of seconds; None for anything else.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            // A number without a unit stands alone.
            "" if number == text => 1.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// The same, for an integer number of seconds.
pub fn parse_seconds(text: &str) -> Option<u64> {
    parse(text).filter(|time| time.subsec_nanos() == 0).map(|time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_of_time_has_units_or_is_a_number_of_seconds() {
        let cases = [
            ("90", 90_000),
            (" 90s ", 90_000),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("500ms", 500),
            ("1h", 3_600_000),
            ("0", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text).map(|time| time.as_millis()), Some(millis), "{text}");
        }
        for text in ["", " ", "5x", "s", "1m30", "0s30", "1 m", "-5", "1e400h", "1..2s", "ten"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(
            (parse_seconds("10m"), parse_seconds("1.5s"), parse_seconds("1.5m")),
            (Some(600), None, Some(90))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn parts_add_up(hours in 0..10_000_u64, minutes in 0..60_u64, seconds in 0..60_u64) {
            let all = hours * 3600 + minutes * 60 + seconds;
            prop_assert_eq!(parse_seconds(&format!("{hours}h{minutes}m{seconds}s")), Some(all));
            prop_assert_eq!(parse_seconds(&all.to_string()), Some(all));
        }

        #[test]
        fn no_text_is_too_much(text in "[0-9.hmsnu x-]{0,30}") {
            let _ = parse(&text);
        }
    }
}
