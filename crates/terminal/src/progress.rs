//! Progress of long work: a line that is updated on a terminal, a line for each quarter in a log.

use crate::size::megabytes;
use std::io::{IsTerminal, Write};

#[derive(Debug)]
pub struct Progress {
    what: String,
    total: u64,
    done: u64,
    printed: u64,
    on_terminal: bool,
}

impl Progress {
    /// Starts the progress of so many bytes.
    pub fn new(what: &str, total: u64) -> Progress {
        let on_terminal = std::io::stdout().is_terminal();
        let mut progress = Progress {
            what: what.to_owned(),
            total: total.max(1),
            done: 0,
            printed: 0,
            on_terminal,
        };
        progress.print();
        progress
    }

    /// Adds bytes that are done.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let step = if self.on_terminal { 1 } else { 25 };
        if self.percent() >= self.printed + step {
            self.print();
        }
    }

    /// Sets the bytes that are done in total.
    pub fn set(&mut self, bytes: u64) {
        self.add(bytes.saturating_sub(self.done));
    }

    /// The work is done.
    pub fn done(mut self) {
        self.done = self.total;
        if self.printed < 100 {
            self.print();
        }
        if self.on_terminal {
            println!();
        }
    }

    fn percent(&self) -> u64 {
        (self.done * 100 / self.total).min(100)
    }

    fn print(&mut self) {
        self.printed = self.percent();
        let (start, end) = if self.on_terminal { ("\r", "  ") } else { ("", "\n") };
        print!("{start}{}: {:3} % of {}{end}", self.what, self.printed, megabytes(self.total));
        let _ = std::io::stdout().flush();
    }
}
