//! Progress of long work: a line that is updated on a terminal, a line for each quarter in a log.

use crate::size::megabytes;
use std::io::{IsTerminal, Write};

#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    total: u64,
    done: u64,
    told: u64,
    on_terminal: bool,
}

impl Progress {
    /// Starts the progress of so many bytes.
    pub(crate) fn new(what: &str, total: u64) -> Progress {
        let on_terminal = std::io::stdout().is_terminal();
        let mut progress =
            Progress { what: what.to_owned(), total: total.max(1), done: 0, told: 0, on_terminal };
        progress.tell();
        progress
    }

    /// Adds bytes that are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let step = if self.on_terminal { 1 } else { 25 };
        if self.percent() >= self.told + step {
            self.tell();
        }
    }

    /// Sets the bytes that are done in total.
    pub(crate) fn set(&mut self, bytes: u64) {
        self.add(bytes.saturating_sub(self.done));
    }

    /// The work is done.
    pub(crate) fn done(mut self) {
        self.done = self.total;
        if self.told < 100 {
            self.tell();
        }
        if self.on_terminal {
            println!();
        }
    }

    fn percent(&self) -> u64 {
        (self.done * 100 / self.total).min(100)
    }

    fn tell(&mut self) {
        self.told = self.percent();
        let (start, end) = if self.on_terminal { ("\r", "  ") } else { ("", "\n") };
        print!("{start}{}: {:3} % of {}{end}", self.what, self.told, megabytes(self.total));
        let _ = std::io::stdout().flush();
    }
}
