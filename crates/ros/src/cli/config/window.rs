//! `--confirm`: how long a change may stand unconfirmed.

use corral_terminal::duration;
use std::time::Duration;

/// How long a change may stand unconfirmed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Window {
    /// Apply now, and revert unless confirmed within this time: 90s, 10m, 1h30m, or seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    confirm: Option<Duration>,
}

impl Window {
    pub(super) fn seconds(&self) -> Option<u64> {
        self.confirm.map(|time| time.as_secs())
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    duration::parse_within(text, 10..=86_400)
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_have_units() {
        for (text, expected) in
            [("90", Some(90)), ("2m", Some(120)), ("1h", Some(3600)), ("5", None), ("2x", None)]
        {
            assert_eq!(parse_time(text).ok().map(|time| time.as_secs()), expected, "{text}");
        }
    }
}
