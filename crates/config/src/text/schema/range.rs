//! The integers that a key takes. A number out of range is an error in the document, so no number
//! surprises the model.

use std::fmt;

/// From the smallest to the largest, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub min: i64,
    pub max: i64,
    /// 0 too, where it stands for what is meant without the key.
    pub or_zero: bool,
}

impl Range {
    /// All numbers between two.
    pub(super) const fn new(min: i64, max: i64) -> Range {
        Range { min, max, or_zero: false }
    }

    /// All numbers between two, and 0.
    pub(super) const fn or_zero(min: i64, max: i64) -> Range {
        Range { min, max, or_zero: true }
    }

    /// Is the number one of them?
    pub fn contains(self, number: i64) -> bool {
        (self.min..=self.max).contains(&number) || (self.or_zero && number == 0)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = if self.or_zero { " (or 0)" } else { "" };
        write!(formatter, "{} to {}{zero}", self.min, self.max)
    }
}
