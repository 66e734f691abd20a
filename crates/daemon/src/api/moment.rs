//! Times in requests, and times as lists of images have them.

use corral_engine::error::EngineError;
use corral_engine::time;
use std::time::Duration;

/// `1700000000`, `1700000000.5`, RFC 3339, or an age as Go writes it (`10m`): time since 1970.
pub fn parse(text: &str) -> Result<Duration, EngineError> {
    let wrong = || {
        EngineError::BadRequest(format!(
            "{text:?} is not a time: seconds since 1970, RFC 3339, or an age such as 10m"
        ))
    };
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    if let Some(time) = time::parse_rfc3339(text) {
        return Ok(time);
    }
    let mut age = Duration::ZERO;
    let mut digits = String::new();
    for letter in text.chars() {
        let unit = match letter {
            '0'..='9' | '.' => {
                digits.push(letter);
                continue;
            }
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            _ => return Err(wrong()),
        };
        let count: f64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        let more = Duration::try_from_secs_f64(count * unit).map_err(|_| wrong())?;
        age = age.checked_add(more).ok_or_else(wrong)?;
    }
    if text.is_empty() || !digits.is_empty() {
        Err(wrong())
    } else {
        Ok(time::now().saturating_sub(age))
    }
}

/// RFC 3339 → seconds since 1970.
pub(super) fn seconds(time: &str) -> u64 {
    parse(time).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        for (text, seconds) in [
            ("1700000000", 1_700_000_000.0),
            ("1700000000.5", 1_700_000_000.5),
            ("2023-11-14T22:13:20Z", 1_700_000_000.0),
            ("2023-11-14T23:13:20.25+01:00", 1_700_000_000.25),
        ] {
            assert!((parse(text).unwrap().as_secs_f64() - seconds).abs() < 0.001, "{text}");
        }
        let age = time::now().saturating_sub(parse("1h30m").unwrap()).as_secs();
        assert!((5399..=5401).contains(&age));
        assert!(parse("soon").is_err() && parse("").is_err() && parse("5").is_ok());
        assert!(
            parse("5000000000000000h").is_ok() && parse(&"5000000000000000h".repeat(2)).is_err()
        );
    }
}
