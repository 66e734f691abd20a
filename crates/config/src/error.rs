//! What is wrong with a configuration, reported so that its author can repair it. Bounded: neither
//! a long document nor a long value makes a long report.

use crate::position::Position;
use std::cmp::Reverse;
use std::fmt;

/// The most problems that are reported of one source.
pub(crate) const MOST: usize = 50;
/// The longest text that is reported, in characters.
const LONGEST: usize = 300;

/// How bad it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Severity {
    /// It works, but not quite as written.
    Warning,
    /// The key has no effect.
    Error,
}

/// One finding: `SOURCE:LINE:COLUMN: KEY: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    pub severity: Severity,
    /// The file, or another name of the source.
    pub source: String,
    /// Counted from 1; 0 where the complete source is meant.
    pub line: u64,
    pub column: u64,
    /// Dotted key; empty where none is meant.
    pub key: String,
    pub message: String,
}

impl Problem {
    /// A finding about a key at a position. Texts that are too long are clipped.
    pub fn new(
        severity: Severity,
        source: &str,
        at: Position,
        key: &str,
        message: String,
    ) -> Problem {
        Problem {
            severity,
            source: clip(source),
            line: at.line,
            column: at.column,
            key: clip(key),
            message: clip(&message),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)?;
        if self.line > 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        let word = if self.severity == Severity::Error { "" } else { "warning: " };
        formatter.write_str(": ")?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        write!(formatter, "{word}{}", self.message)
    }
}

/// What is reported of a source: all of it; or, if that is too much, errors first, then how many
/// more there are.
pub fn capped(source: &str, mut problems: Vec<Problem>) -> Vec<Problem> {
    if problems.len() <= MOST + 1 {
        return problems;
    }
    problems.sort_by_key(|problem| Reverse(problem.severity));
    let rest = problems.split_off(MOST);
    let worst = rest.first().map_or(Severity::Warning, |problem| problem.severity);
    let message = format!("and {} more problems in {source}", rest.len());
    problems.push(Problem::new(worst, source, Position::default(), "", message));
    problems
}

/// A text as a report shows it: on one line, and without its middle if it is too long.
pub fn clip(text: &str) -> String {
    let text: String = if text.chars().nth(LONGEST).is_none() {
        text.to_owned()
    } else {
        let tail = text.char_indices().rev().nth(LONGEST / 3).map_or(0, |(at, _)| at);
        let head: String = text.chars().take(LONGEST / 2).collect();
        format!("{head}…{}", &text[tail..])
    };
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(severity: Severity, number: usize) -> Problem {
        Problem::new(severity, "f", Position::default(), "", number.to_string())
    }

    #[test]
    fn errors_are_not_hidden_behind_warnings() {
        let mut all: Vec<Problem> =
            (0..1000).map(|number| problem(Severity::Warning, number)).collect();
        all.push(problem(Severity::Error, 1000));
        let few = capped("f", all);
        assert_eq!(few.len(), MOST + 1);
        assert_eq!(few[0], problem(Severity::Error, 1000));
        assert_eq!(few[1], problem(Severity::Warning, 0));
        assert_eq!(few[MOST].to_string(), "f: warning: and 951 more problems in f");
    }

    #[test]
    fn few_problems_stay_in_their_order() {
        let all: Vec<Problem> = (0..=MOST)
            .map(|number| {
                problem(if number < MOST { Severity::Warning } else { Severity::Error }, number)
            })
            .collect();
        assert_eq!(capped("f", all.clone()), all);
    }

    #[test]
    fn a_long_text_loses_its_middle_and_a_line_end_is_a_blank() {
        let long = format!("begin {} end\u{1b}[2J", "ä".repeat(100_000));
        let clipped = clip(&long);
        assert!(clipped.starts_with("begin ä") && clipped.ends_with("ä end [2J"), "{clipped}");
        assert!(clipped.chars().count() <= LONGEST);
        assert_eq!(clip("one\ntwo"), "one two");
    }
}
