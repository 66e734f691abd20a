//! Flags with a duration: one syntax for all of them.

use corral_config::duration;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Complete seconds of a range: `90s`, `10m`, `1h30m`, or a number of seconds.
pub fn parse_within(text: &str, range: RangeInclusive<u64>) -> Result<Duration, String> {
    let seconds = duration::parse_seconds(text)
        .ok_or_else(|| format!("{text:?} is not a time such as 90s, 10m or 1h30m"))?;
    if range.contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    Err(format!("the time must be {} to {}", show(*range.start()), show(*range.end())))
}

/// In the largest unit that divides it.
fn show(seconds: u64) -> String {
    match (seconds % 3600, seconds % 60) {
        (0, _) if seconds > 0 => format!("{} h", seconds / 3600),
        (_, 0) if seconds > 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// A length of time without limits.
pub fn parse(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("{text:?} is not a time such as 90s, 10m or 1h30m"))
}

/// How long something lasts, in its two largest units: `3 d 4 h`, `1 h 1 min`, `50 s`.
pub fn spoken(seconds: u64) -> String {
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min")];
    let mut parts = units.into_iter().chain([(seconds % 60, "s")]);
    let largest = parts.by_ref().find(|(count, _)| *count > 0);
    let parts: Vec<String> = largest
        .into_iter()
        .chain(parts.next())
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_spoken_in_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (50, "50 s"),
            (120, "2 min"),
            (125, "2 min 5 s"),
            (3700, "1 h 1 min"),
            (86_400, "1 d"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(spoken(seconds), text);
        }
    }

    #[test]
    fn a_flag_takes_units_and_plain_seconds_within_its_range() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("2m", 120), ("1h30m", 5400)] {
            assert_eq!(parse_within(text, 30..=7200), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["29", "7201s", "3h"] {
            let why = "the time must be 30 s to 2 h".to_owned();
            assert_eq!(parse_within(text, 30..=7200), Err(why), "{text}");
        }
        assert_eq!(parse_within("9", 0..=0), Err("the time must be 0 s to 0 s".to_owned()));
        assert_eq!(parse_within("0", 60..=90), Err("the time must be 1 min to 90 s".to_owned()));
        for text in ["", "2x", "soon", "1.5s", "-1"] {
            let why = format!("{text:?} is not a time such as 90s, 10m or 1h30m");
            assert_eq!(parse_within(text, 0..=7200), Err(why));
        }
    }
}
