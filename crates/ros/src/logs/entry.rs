//! A line of a log, with its time.

use corral_engine::time;
use corral_terminal::output::printable;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    /// Since 1970.
    #[serde(serialize_with = "as_rfc3339")]
    pub(super) time: Duration,
    pub(super) source: String,
    pub(super) text: String,
}

fn as_rfc3339<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::rfc3339(*time))
}

impl Entry {
    /// From a line that begins with a time in RFC 3339. A line without one belongs to the line
    /// before it, and has its time.
    pub(super) fn parse(source: &str, line: &str, before: Duration) -> Entry {
        let parsed =
            line.split_once(' ').and_then(|(time, text)| Some((time::parse_rfc3339(time)?, text)));
        let (time, text) = parsed.unwrap_or((before, line));
        Entry { time, source: source.to_owned(), text: text.to_owned() }
    }
}

/// With milliseconds. A line of a terminal ends with a carriage return.
impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = time::rfc3339(self.time);
        let time = time.get(..23).unwrap_or(&time);
        let text = self.text.strip_suffix('\r').unwrap_or(&self.text);
        write!(formatter, "{time}Z {} | {}", printable(&self.source), printable(text))
    }
}

/// An age, or a time in RFC 3339; since 1970.
pub(super) fn parse_since(text: &str) -> Result<Duration, String> {
    if let Some(age) = corral_config::duration::parse(text) {
        return Ok(time::now().saturating_sub(age));
    }
    let wrong = || format!("{text:?} is no time such as 10m, 1h30m or 2026-11-29T08:00:00Z");
    time::parse_rfc3339(text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_own_time_or_that_of_the_line_before() {
        let before = Duration::from_secs(5);
        let first = Entry::parse("web", "2023-11-14T22:13:20.25Z hello you", before);
        assert_eq!(
            (first.time, first.text.as_str()),
            (Duration::new(1_700_000_000, 250_000_000), "hello you")
        );
        assert_eq!(first.to_string(), "2023-11-14T22:13:20.250Z web | hello you");
        let second = Entry::parse("web", "  at line 7", first.time);
        assert_eq!((second.time, second.text.as_str()), (first.time, "  at line 7"));
        assert_eq!(Entry::parse("web", "", before).time, before);
    }

    #[test]
    fn a_line_does_nothing_to_the_terminal() {
        let shown = |text: &str| Entry::parse("web", text, Duration::ZERO).to_string();
        assert_eq!(shown("\u{1b}[2J\tx\r"), "1970-01-01T00:00:00.000Z web | \\u{1b}[2J\tx");
        assert_eq!(shown("a\rb"), "1970-01-01T00:00:00.000Z web | a\\rb");
    }

    #[test]
    fn a_start_is_an_age_or_a_time() {
        let age = time::now().saturating_sub(parse_since("1h30m").unwrap());
        assert!((5399..=5401).contains(&age.as_secs()));
        assert_eq!(parse_since("2023-11-14T22:13:20Z"), Ok(Duration::from_secs(1_700_000_000)));
        assert!(parse_since("yesterday").is_err());
    }
}
