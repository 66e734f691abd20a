//! Text → schedule. The language is that of container-crontab (robfig/cron): five fields, six
//! with the second first, or a word with `@`.

use super::calendar::Calendar;
use super::field;
use super::schedule::Schedule;
use corral_config::duration;
use std::time::Duration;

const FIELDS: &str =
    "5 fields (minute hour day month weekday), or 6 with the second first; such as \"0 3 * * *\"";
const WORDS: &str = "@hourly, @daily, @weekly, @monthly, @yearly, @reboot or @every 1h30m";

/// Parses `cron.schedule`. The error says what is wrong and what is right.
pub(super) fn parse(text: &str) -> Result<Schedule, String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    match fields.as_slice() {
        [] => Err(format!("it is empty; write {FIELDS}")),
        ["@every", time] => every(time),
        [word] if word.starts_with('@') => named(word),
        [zone, ..] if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => Err(format!(
            "{zone} has no effect: times are local, and rancher.environment.TZ sets it"
        )),
        [minute, hour, day, month, weekday] => {
            calendar(["0", minute, hour, day, month, weekday]).map(Schedule::At)
        }
        [second, minute, hour, day, month, weekday] => {
            calendar([second, minute, hour, day, month, weekday]).map(Schedule::At)
        }
        more => Err(format!("it has {} fields; write {FIELDS}", more.len())),
    }
}

fn every(time: &str) -> Result<Schedule, String> {
    let interval = duration::parse(time).filter(|time| *time >= Duration::from_secs(1));
    let hint = || format!("@every: {time:?} is not a time of a second or more, such as 1h30m");
    interval.map(Schedule::Every).ok_or_else(hint)
}

fn named(word: &str) -> Result<Schedule, String> {
    let fields = match word {
        "@reboot" => return Ok(Schedule::Reboot),
        "@yearly" | "@annually" => ["0", "0", "0", "1", "1", "*"],
        "@monthly" => ["0", "0", "0", "1", "*", "*"],
        "@weekly" => ["0", "0", "0", "*", "*", "0"],
        "@daily" | "@midnight" => ["0", "0", "0", "*", "*", "*"],
        "@hourly" => ["0", "0", "*", "*", "*", "*"],
        _ => return Err(format!("{word} is not {WORDS}")),
    };
    calendar(fields).map(Schedule::At)
}

fn calendar(fields: [&str; 6]) -> Result<Calendar, String> {
    let [second, minute, hour, day, month, weekday] = fields;
    let calendar = Calendar {
        seconds: field::SECOND.parse(second)?.bits,
        minutes: field::MINUTE.parse(minute)?.bits,
        hours: field::HOUR.parse(hour)?.bits,
        days: field::DAY.parse(day)?,
        months: field::MONTH.parse(month)?.bits,
        weekdays: field::WEEKDAY.parse(weekday)?,
    };
    if calendar.never_occurs() {
        return Err("no month that it names has such a day".to_owned());
    }
    Ok(calendar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_to_write_it_are_the_same() {
        let same = [
            ("0 3 * * *", "0 0 3 ? * *"),
            ("*/15 * * * *", "0 0,15,30,45 * * * ?"),
            ("0 0 * * mon-fri", "0 0 0 * * 1,2,3,4,5"),
            ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
            ("0 0 * * 5-7", "0 0 * * FRI,SAT,SUN"),
            ("0 0 1 JAN,jul *", "0 0 1 1-7/6 *"),
            ("5/20 0 * * *", "5,25,45 0 * * *"),
            ("0 0 * * */2", "0 0 * * 0/2"),
            ("@hourly", "0 * * * *"),
            ("@daily", "@midnight"),
            ("@weekly", "0 0 * * 7"),
            ("@monthly", "0 0 1 * *"),
            ("@yearly", "@annually"),
            ("  @every   90m ", "@every 1h30m"),
        ];
        for (one, other) in same {
            let (one, other) = (parse(one), parse(other));
            let bits = |schedule: &Result<Schedule, String>| match schedule {
                Ok(Schedule::At(at)) => format!(
                    "{:x} {:x} {:x} {:x} {:x} {:x}",
                    at.seconds, at.minutes, at.hours, at.days.bits, at.months, at.weekdays.bits
                ),
                other => format!("{other:?}"),
            };
            assert!(one.is_ok(), "{one:?}");
            assert_eq!(bits(&one), bits(&other));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        let wrong = [
            ("", "it is empty; write 5 fields"),
            ("* * * *", "it has 4 fields; write 5 fields"),
            ("0 * * * * * 2026", "it has 7 fields"),
            ("60 * * * *", "minute: \"60\" is not 0 to 59"),
            ("0 24 * * *", "hour: \"24\" is not 0 to 23"),
            ("0 0 0 * *", "day of the month: \"0\" is not 1 to 31"),
            ("0 0 * march *", "month: \"march\" is not 1 to 12 or jan to dec"),
            ("0 0 * * 8", "day of the week: \"8\" is not 0 to 7 or sun to sat"),
            ("0 0 L * *", "day of the month: \"L\" is not 1 to 31"),
            ("*/0 * * * *", "minute: the step of \"*/0\" is not 1 to 59"),
            ("*/x * * * *", "the step of \"*/x\""),
            ("0 22-2 * * *", "hour: \"22-2\" ends before it begins; write two ranges"),
            ("1,, * * * *", "minute: \"\" is not"),
            ("+1 * * * *", "minute: \"+1\" is not"),
            ("0 0 30 2 *", "no month that it names has such a day"),
            ("@fortnightly", "@fortnightly is not @hourly"),
            ("@every 1ms", "@every: \"1ms\" is not a time of a second or more"),
            ("@every often", "@every: \"often\" is not a time"),
            ("@every", "@every is not @hourly"),
            ("TZ=UTC 0 0 * * *", "TZ=UTC has no effect"),
        ];
        for (text, expected) in wrong {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
