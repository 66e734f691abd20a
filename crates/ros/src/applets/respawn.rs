//! `respawn`: keeps the programs of the console running (sshd, a getty on each terminal). A program
//! that keeps exiting is restarted after longer and longer pauses. It is never given up: it may be
//! the owner's only way to log in.
//!
//! When the console is stopped, `terminate` ends what runs in it.

mod terminate;

use anyhow::{Context, Result};
use corral_engine::sys::reap;
use corral_engine::sys::signals::{self, SignalAction, Signals};
use corral_init::restart;
use corral_machine::deadline;
use rustix::event::{PollFd, PollFlags};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program and its state.
struct Program {
    line: String,
    pid: Option<i32>,
    started: Instant,
    failures: u32,
    /// When to start it.
    due: Instant,
}

/// Reads the file that `-f` names and keeps its programs running.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let file = match arguments {
        [flag, file] if flag == "-f" => file.as_str(),
        _ => "/etc/respawn.conf",
    };
    let mut signals = Signals::open().context("watching signals")?;
    let mut programs: Vec<Program> = load(Path::new(file))?.into_iter().map(Program::new).collect();
    loop {
        programs.iter_mut().for_each(Program::start_if_due);
        wait(&signals, &programs)?;
        while let Some(action) = signals.take() {
            match action {
                SignalAction::Reap => reap_all(&mut programs),
                SignalAction::Power(_) => return terminate::all(),
            }
        }
    }
}

fn load(file: &Path) -> Result<Vec<String>> {
    let mut text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let more = std::fs::read_dir("/etc/respawn.conf.d").into_iter().flatten().flatten();
    for item in more {
        text.push_str(&std::fs::read_to_string(item.path()).unwrap_or_default());
        text.push('\n');
    }
    let wanted = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text.lines().map(str::trim).filter(wanted).map(str::to_owned).collect())
}

fn wait(signals: &Signals, programs: &[Program]) -> Result<()> {
    let next =
        programs.iter().filter(|program| program.pid.is_none()).map(|program| program.due).min();
    deadline::poll(&mut [PollFd::new(signals, PollFlags::IN)], next).map(drop).context("waiting")
}

fn reap_all(programs: &mut [Program]) {
    while let Some(end) = reap::next() {
        if let Some(program) = programs.iter_mut().find(|program| program.pid == Some(end.pid)) {
            program.ended();
        }
    }
}

impl Program {
    fn new(line: String) -> Program {
        let now = Instant::now();
        Program { line, pid: None, started: now, failures: 0, due: now }
    }

    fn start_if_due(&mut self) {
        if self.pid.is_some() || self.due > Instant::now() {
            return;
        }
        let mut words = self.line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        self.started = Instant::now();
        match signals::start_unblocked(&mut command).spawn() {
            Ok(child) => self.pid = Some(child.id().cast_signed()),
            Err(error) => {
                println!("respawn: {}: {error}", self.line);
                self.ended();
            }
        }
    }

    fn ended(&mut self) {
        self.pid = None;
        let stable = self.started.elapsed() >= Duration::from_secs(2);
        self.failures = if stable { 0 } else { self.failures + 1 };
        self.due =
            Instant::now() + if stable { Duration::ZERO } else { restart::backoff(self.failures) };
    }
}
