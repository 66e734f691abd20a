//! `--confirm`: how long a change may stand unconfirmed.

/// How long a change may stand unconfirmed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Window {
    /// Put the change into force now, and take it back unless `ros config confirm` comes within this time: 90s, 2m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) confirm: Option<u64>,
}

fn parse_time(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 2m or 1h");
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let time = number.checked_mul(seconds).ok_or_else(wrong)?;
    if (10..=86_400).contains(&time) { Ok(time) } else { Err("the time must be 10 s to 24 h".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_have_units() {
        for (text, expected) in
            [("90", Some(90)), ("2m", Some(120)), ("1h", Some(3600)), ("5", None), ("2x", None)]
        {
            assert_eq!(parse_time(text).ok(), expected, "{text}");
        }
    }
}
