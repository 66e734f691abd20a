//! Signals by name and number, real-time signals among them (signal(7)).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Real-time signals; the two below them are the C library's own.
const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// Second names, as Docker knows them.
const ALIASES: [(&str, &str); 3] =
    [("SIGIOT", "SIGABRT"), ("SIGCLD", "SIGCHLD"), ("SIGPOLL", "SIGIO")];

/// A signal that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Signal(i32);

impl Signal {
    pub const HUP: Signal = Signal(1);
    pub const KILL: Signal = Signal(9);
    pub const TERM: Signal = Signal(15);

    pub fn number(self) -> i32 {
        self.0
    }

    pub(crate) fn is_real_time(self) -> bool {
        REAL_TIME.contains(&self.0)
    }
}

/// What containers are stopped with.
impl Default for Signal {
    fn default() -> Signal {
        Signal::TERM
    }
}

/// Text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a signal")]
pub struct NotASignal(String);

/// A name (`SIGTERM`, `term`, `SIGRTMIN+3`) or a number.
impl FromStr for Signal {
    type Err = NotASignal;

    fn from_str(text: &str) -> Result<Signal, NotASignal> {
        parse(text).map(Signal).ok_or_else(|| NotASignal(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        let is_known =
            REAL_TIME.contains(&number) || nix::sys::signal::Signal::try_from(number).is_ok();
        return is_known.then_some(number);
    }
    let upper = text.to_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Some(offset) = name.strip_prefix("SIGRTMIN") {
        return real_time(*REAL_TIME.start(), offset);
    }
    if let Some(offset) = name.strip_prefix("SIGRTMAX") {
        return real_time(*REAL_TIME.end(), offset);
    }
    let name =
        ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, name)| name);
    name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

/// `SIGRTMIN+3`, `SIGRTMAX-1`, or the bare names: what stands after the name is added to it.
fn real_time(from: i32, offset: &str) -> Option<i32> {
    let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    from.checked_add(offset).filter(|signal| REAL_TIME.contains(signal))
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => formatter.write_str(signal.as_str()),
            Err(_) if self.0 == *REAL_TIME.start() => formatter.write_str("SIGRTMIN"),
            Err(_) => write!(formatter, "SIGRTMIN+{}", self.0 - REAL_TIME.start()),
        }
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> String {
        signal.to_string()
    }
}

/// Records of earlier versions have the text of a client, which was not checked: what names no
/// signal meant SIGTERM.
impl From<String> for Signal {
    fn from(text: String) -> Signal {
        text.parse().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let cases = [
            ("SIGTERM", Some((15, "SIGTERM"))),
            ("term", Some((15, "SIGTERM"))),
            ("9", Some((9, "SIGKILL"))),
            ("64", Some((64, "SIGRTMIN+30"))),
            ("SIGCLD", Some((17, "SIGCHLD"))),
            ("SIGRTMIN", Some((34, "SIGRTMIN"))),
            ("SIGRTMIN+3", Some((37, "SIGRTMIN+3"))),
            ("rtmin+15", Some((49, "SIGRTMIN+15"))),
            ("RTMAX-14", Some((50, "SIGRTMIN+16"))),
            ("SIGRTMAX", Some((64, "SIGRTMIN+30"))),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN-1", None),
            ("SIGRTMAX+1", None),
            ("SIGRTMINUS", None),
            // The C library's own.
            ("32", None),
            ("65", None),
            ("0", None),
            ("SIGNOTHING", None),
        ];
        for (text, expected) in cases {
            let parsed = text.parse::<Signal>().ok();
            let shown = parsed.map(|signal| (signal.number(), signal.to_string()));
            assert_eq!(shown, expected.map(|(number, name)| (number, name.to_owned())), "{text}");
            if let Some(signal) = parsed {
                assert_eq!(signal.to_string().parse(), Ok(signal), "{text}");
            }
        }
    }
}
