//! One field of a schedule: numbers, names, ranges, steps and lists, as a set of bits.

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
    /// The number of the first name.
    base: u32,
}

pub(super) const SECOND: Kind = number("second", 0, 59);
pub(super) const MINUTE: Kind = number("minute", 0, 59);
pub(super) const HOUR: Kind = number("hour", 0, 23);
pub(super) const DAY: Kind = number("day of the month", 1, 31);
pub(super) const MONTH: Kind = Kind {
    name: "month",
    first: 1,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    base: 1,
};
/// 0 and 7 are Sunday.
pub(super) const WEEKDAY: Kind = Kind {
    name: "day of the week",
    first: 0,
    last: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    base: 0,
};

const fn number(name: &'static str, first: u32, last: u32) -> Kind {
    Kind { name, first, last, names: &[], base: 0 }
}

/// The numbers of a field, and whether it leaves them open (`*` or `?`, also with a step).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) bits: u64,
    pub(super) is_open: bool,
}

impl Kind {
    /// Parses a field: `*`, `?`, `5`, `mon-fri`, `*/10`, `10-50/20`, `1,15`.
    pub(super) fn parse(self, text: &str) -> Result<Field, String> {
        let mut field = Field { bits: 0, is_open: false };
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(self.step(part, step)?)),
                None => (part, None),
            };
            let (first, last) = self.range(part, range, step.is_some())?;
            field.is_open |= matches!(range, "*" | "?");
            let numbers = (first..=last).step_by(step.unwrap_or(1));
            field.bits |= numbers.fold(0, |bits, number| bits | 1 << number);
        }
        if self.last == 7 {
            // Sunday has two numbers.
            field.bits = (field.bits | field.bits >> 7) & 0x7f;
        }
        Ok(field)
    }

    fn step(self, part: &str, step: &str) -> Result<usize, String> {
        let step = step.parse().ok().filter(|step| (1..=59).contains(step));
        step.ok_or_else(|| format!("{}: the step of {part:?} is not 1 to 59", self.name))
    }

    fn range(self, part: &str, range: &str, has_step: bool) -> Result<(u32, u32), String> {
        // As an open field, a week is Sunday to Saturday: 7 is another name of 0.
        let last = if self.last == 7 { 6 } else { self.last };
        if matches!(range, "*" | "?") {
            return Ok((self.first, last));
        }
        let Some((from, to)) = range.split_once('-') else {
            let number = self.number(range)?;
            return Ok((number, if has_step { last.max(number) } else { number }));
        };
        let (from, to) = (self.number(from)?, self.number(to)?);
        // `fri-sun`: Sunday ends the week here.
        let to = if self.last == 7 && to == 0 && from > 0 { 7 } else { to };
        if from <= to {
            return Ok((from, to));
        }
        Err(format!(
            "{}: {part:?} ends before it begins; write two ranges, separated by a comma",
            self.name
        ))
    }

    fn number(self, text: &str) -> Result<u32, String> {
        let name = text.to_ascii_lowercase();
        if let Some(at) = (self.base..).zip(self.names).find(|(_, known)| **known == name) {
            return Ok(at.0);
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number);
        number.filter(|number| (self.first..=self.last).contains(number)).ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            format!("{}: {text:?} is not {} to {}{names}", self.name, self.first, self.last)
        })
    }
}
