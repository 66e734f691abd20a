//! Times of the calendar, and the next one after a moment.
//!
//! Where clocks change: a time that does not exist is taken as the moment after the gap. A time
//! that occurs twice is taken once, the first time; but a schedule for every hour goes on through
//! both, as the clock on the wall does.

use super::field::Field;
use chrono::{
    DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta,
    TimeZone, Timelike, Utc,
};

/// Days that are looked at: 29 February is eight years after another one at the most, and a weekday
/// comes round to it within 40.
const DAYS: u32 = 41 * 366;
/// All 24.
const EVERY_HOUR: u64 = 0xff_ffff;
/// No gap of a time zone is longer, in minutes: an island may skip a day.
const LONGEST_GAP: u32 = 25 * 60;

/// Sets of bits, one for each number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) days: Field,
    pub(super) months: u64,
    pub(super) weekdays: Field,
}

impl Calendar {
    /// The first moment after this one, in a time zone. None if there is none before the calendar
    /// ends.
    pub fn next_after<Z: TimeZone>(&self, after: &DateTime<Z>) -> Option<DateTime<Z>> {
        if self.hours == EVERY_HOUR {
            return self.next_by_the_clock(after);
        }
        let zone = after.timezone();
        let mut from = after.naive_local();
        loop {
            let local = self.next_local(from)?;
            let moment = match zone.from_local_datetime(&local) {
                LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => Some(moment),
                LocalResult::None => after_gap(&zone, local),
            };
            match moment {
                Some(moment) if moment > *after => return Some(moment),
                _ => from = local,
            }
        }
    }

    /// For every hour: looks for a time with the offset of now, and again where that changes.
    fn next_by_the_clock<Z: TimeZone>(&self, after: &DateTime<Z>) -> Option<DateTime<Z>> {
        let zone = after.timezone();
        let mut from = after.clone();
        loop {
            let offset = from.offset().fix();
            let local = self.next_local(from.naive_utc().checked_add_offset(offset)?)?;
            let moment = zone.from_utc_datetime(&local.checked_sub_offset(offset)?);
            if moment.offset().fix() == offset {
                return Some(moment);
            }
            let change = first_change(&zone, &from, &moment);
            let just_before = change.clone() - TimeDelta::seconds(1);
            // With the offset that begins at the change.
            let local = just_before.naive_utc().checked_add_offset(change.offset().fix())?;
            let next = self.next_local(local)?.checked_sub_offset(change.offset().fix())?;
            let next = zone.from_utc_datetime(&next);
            if next.offset().fix() == change.offset().fix() {
                return Some(next);
            }
            from = change;
        }
    }

    /// The first local time after this one.
    fn next_local(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let start = after.with_nanosecond(0)?.checked_add_signed(TimeDelta::seconds(1))?;
        let (mut date, mut from) = (start.date(), start.time());
        for _ in 0..DAYS {
            if let Some(time) = self.has_day(date).then(|| self.next_time(from)).flatten() {
                return Some(date.and_time(time));
            }
            date = date.checked_add_days(Days::new(1))?;
            from = NaiveTime::MIN;
        }
        None
    }

    /// As cron(8): of the day and the weekday one is enough, if both are restricted.
    fn has_day(&self, date: NaiveDate) -> bool {
        let has = |bits: u64, number: u32| bits >> number & 1 == 1;
        let day = has(self.days.bits, date.day());
        let weekday = has(self.weekdays.bits, date.weekday().num_days_from_sunday());
        let is_either = !self.days.is_open && !self.weekdays.is_open;
        has(self.months, date.month()) && if is_either { day || weekday } else { day && weekday }
    }

    /// The first time of a day from this one on.
    fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let mut hour = next_bit(self.hours, from.hour())?;
        let (minute, second) = match self.within_hour(hour == from.hour(), from) {
            Some(found) => found,
            None => {
                hour = next_bit(self.hours, hour + 1)?;
                (next_bit(self.minutes, 0)?, next_bit(self.seconds, 0)?)
            }
        };
        NaiveTime::from_hms_opt(hour, minute, second)
    }

    fn within_hour(&self, is_first: bool, from: NaiveTime) -> Option<(u32, u32)> {
        let (minute, second) = if is_first { (from.minute(), from.second()) } else { (0, 0) };
        let found = next_bit(self.minutes, minute)?;
        if found > minute {
            return Some((found, next_bit(self.seconds, 0)?));
        }
        match next_bit(self.seconds, second) {
            Some(second) => Some((found, second)),
            None => Some((next_bit(self.minutes, found + 1)?, next_bit(self.seconds, 0)?)),
        }
    }

    /// 30 February and its like.
    pub(super) fn never_occurs(&self) -> bool {
        self.next_after(&DateTime::<Utc>::UNIX_EPOCH).is_none()
    }
}

/// The lowest number of a set that is not below `from`.
fn next_bit(bits: u64, from: u32) -> Option<u32> {
    let left = bits.checked_shr(from).unwrap_or(0);
    (left != 0).then(|| from + left.trailing_zeros())
}

/// The moment at which a local time would have passed that the clock skips.
fn after_gap<Z: TimeZone>(zone: &Z, skipped: NaiveDateTime) -> Option<DateTime<Z>> {
    let minute = skipped.with_second(0)?;
    (1..=LONGEST_GAP).find_map(|minutes| {
        let later = minute.checked_add_signed(TimeDelta::minutes(minutes.into()))?;
        zone.from_local_datetime(&later).earliest()
    })
}

/// The first second with another offset than `from`, between two moments with different ones.
fn first_change<Z: TimeZone>(zone: &Z, from: &DateTime<Z>, to: &DateTime<Z>) -> DateTime<Z> {
    let at = |seconds: i64| {
        let utc = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        utc.with_timezone(zone)
    };
    let (mut before, mut after) = (from.timestamp(), to.timestamp());
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if at(middle).offset().fix() == from.offset().fix() {
            before = middle;
        } else {
            after = middle;
        }
    }
    at(after)
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::schedule::Schedule;
    use super::*;
    use chrono::FixedOffset;
    use proptest::prelude::*;

    /// Central Europe in 2026: summer time from 29 March, 01:00 UTC, to 25 October, 01:00 UTC.
    #[derive(Debug, Clone, Copy)]
    struct Berlin;

    const SUMMER: (i64, i64) = (1_774_746_000, 1_792_890_000);

    fn hours(count: i32) -> FixedOffset {
        FixedOffset::east_opt(count * 3600).unwrap()
    }

    #[derive(Debug, Clone, Copy)]
    struct At(FixedOffset);

    impl Offset for At {
        fn fix(&self) -> FixedOffset {
            self.0
        }
    }

    impl TimeZone for Berlin {
        type Offset = At;

        fn from_offset(_: &At) -> Berlin {
            Berlin
        }

        fn offset_from_local_date(&self, date: &NaiveDate) -> LocalResult<At> {
            self.offset_from_local_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> LocalResult<At> {
            let fits = |count| {
                let offset = At(hours(count));
                let utc = *local - TimeDelta::hours(count.into());
                (self.offset_from_utc_datetime(&utc).0 == offset.0).then_some(offset)
            };
            match (fits(2), fits(1)) {
                (Some(summer), Some(winter)) => LocalResult::Ambiguous(summer, winter),
                (Some(only), None) | (None, Some(only)) => LocalResult::Single(only),
                (None, None) => LocalResult::None,
            }
        }

        fn offset_from_utc_date(&self, date: &NaiveDate) -> At {
            self.offset_from_utc_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> At {
            let is_summer = (SUMMER.0..SUMMER.1).contains(&utc.and_utc().timestamp());
            At(hours(if is_summer { 2 } else { 1 }))
        }
    }

    fn calendar(text: &str) -> Calendar {
        let Schedule::At(calendar) = parse(text).unwrap() else { unreachable!("{text}") };
        calendar
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_is_that_of_the_calendar() {
        let cases = [
            ("* * * * *", "2026-11-29T07:45:00Z", "2026-11-29T07:46:00Z"),
            ("*/2 * * * * *", "2026-11-29T07:45:01.5Z", "2026-11-29T07:45:02Z"),
            ("0 */5 * * * ?", "2026-11-29T07:45:00Z", "2026-11-29T07:50:00Z"),
            ("0 3 * * *", "2026-11-29T03:00:00Z", "2026-11-30T03:00:00Z"),
            ("30 8-17/3 * * mon-fri", "2026-11-27T17:30:00Z", "2026-11-30T08:30:00Z"),
            ("59 59 23 31 12 *", "2026-12-31T23:59:59Z", "2027-12-31T23:59:59Z"),
            ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            ("0 0 13 * fri", "2026-11-08T00:00:00Z", "2026-11-13T00:00:00Z"),
            // Either is enough…
            ("0 0 1 * mon", "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"),
            ("0 0 1 * mon", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"),
            // …but an open field restricts nothing.
            ("0 0 */2 * mon", "2026-11-29T00:00:00Z", "2026-12-07T00:00:00Z"),
            ("@yearly", "2026-11-29T00:00:00Z", "2027-01-01T00:00:00Z"),
        ];
        for (text, after, expected) in cases {
            let next = calendar(text).next_after(&utc(after));
            assert_eq!(next, Some(utc(expected)), "{text} after {after}");
        }
    }

    #[test]
    fn a_change_of_the_clock_loses_no_run_and_doubles_none() {
        let cases = [
            // 02:30 is skipped on 29 March.
            (
                "30 2 * * *",
                "2026-03-28T12:00:00Z",
                vec!["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            ),
            // 02:00 to 03:00 comes twice on 25 October.
            (
                "30 2 * * *",
                "2026-10-24T12:00:00Z",
                vec!["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            ),
            ("*/30 2 * * *", "2026-10-25T00:30:00Z", vec!["2026-10-26T01:00:00Z"]),
            ("0 3 * * *", "2026-10-24T12:00:00Z", vec!["2026-10-25T02:00:00Z"]),
            // For every hour the clock goes on.
            (
                "*/30 * * * *",
                "2026-03-29T00:30:00Z",
                vec!["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
            ),
            (
                "@hourly",
                "2026-10-24T23:00:00Z",
                vec!["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
            ),
            (
                "45 * * * *",
                "2026-10-25T00:50:00Z",
                vec!["2026-10-25T01:45:00Z", "2026-10-25T02:45:00Z"],
            ),
        ];
        for (text, after, expected) in cases {
            let mut now = utc(after).with_timezone(&Berlin);
            for expected in expected {
                now = calendar(text).next_after(&now).unwrap();
                assert_eq!(now.with_timezone(&Utc), utc(expected), "{text} after {after}");
            }
        }
    }

    /// The same, second by second.
    fn searched(calendar: &Calendar, after: i64) -> i64 {
        let fits = |seconds: &i64| {
            let local = DateTime::from_timestamp(*seconds, 0).unwrap();
            let has = |bits: u64, number: u32| bits >> number & 1 == 1;
            calendar.has_day(local.date_naive())
                && has(calendar.hours, local.hour())
                && has(calendar.minutes, local.minute())
                && has(calendar.seconds, local.second())
        };
        (after + 1..).find(fits).unwrap()
    }

    fn field(first: u32, last: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (first..=last).prop_map(|number| number.to_string()),
            (1_u32..=59).prop_map(|step| format!("*/{step}")),
            (first..=last, first..=last).prop_map(|(one, other)| format!(
                "{}-{}",
                one.min(other),
                one.max(other)
            )),
        ]
    }

    proptest! {
        // The search takes a while.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_time_is_left_out(
            times in [field(0, 59), field(0, 59), field(0, 23)],
            weekday in field(0, 6),
            after in 1_700_000_000_i64..1_900_000_000,
        ) {
            let text = format!("{} * * {weekday}", times.join(" "));
            let calendar = calendar(&text);
            let next = calendar.next_after(&DateTime::from_timestamp(after, 0).unwrap()).unwrap();
            prop_assert_eq!(next.timestamp(), searched(&calendar, after), "{}", text);
        }

        #[test]
        fn times_follow_each_other_in_every_zone(
            fields in (field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)),
            after in 1_770_000_000_i64..1_800_000_000,
        ) {
            let (minute, hour, day, month, weekday) = fields;
            let calendar = calendar(&format!("{minute} {hour} {day} {month} {weekday}"));
            let mut now = DateTime::from_timestamp(after, 0).unwrap().with_timezone(&Berlin);
            for _ in 0..5 {
                let Some(next) = calendar.next_after(&now) else { break };
                prop_assert!(next > now);
                now = next;
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", fields in "[0-9*?/,@a-z -]{0,40}") {
            let _ = parse(&text);
            let _ = parse(&fields);
        }
    }
}
