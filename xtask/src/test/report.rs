//! What a run of all tests counts and prints: how long its parts took, on which machines stories
//! ran, what failed.

use crate::dependencies::{Deny, read_lock_of_fuzzers, search_unused};
use crate::progress;
use crate::stories::{self, Outcome, Stories};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The results so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) count: Count,
    pub(super) phases: Phases,
    pub(super) outcomes: Vec<Outcome>,
    /// Why no story ran under User-Mode Linux.
    pub(super) without_uml: Option<String>,
    /// Why dependencies were not checked for advisories.
    without_advisories: Option<String>,
}

/// The totals of the test runners, without the stories.
#[derive(Debug, Default)]
pub(super) struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// How long each part of a run took.
#[derive(Debug, Default)]
pub(super) struct Phases(Vec<(&'static str, Duration)>);

impl Report {
    /// Runs stories as a part of the run. Their outcomes are kept even if an error ends it.
    pub(super) fn run_stories(
        &mut self,
        name: &'static str,
        which: &Stories,
        options: &stories::Options<'_>,
    ) -> Result<()> {
        eprintln!("== {name}");
        let Report { phases, outcomes, .. } = self;
        phases.time(name, || which.run(name, options, outcomes))
    }

    /// Checks our dependencies as a part of the run. It is not a failure if this machine cannot
    /// fetch the advisories.
    pub(super) fn dependencies(&mut self) -> Result<()> {
        let Report { count, phases, without_advisories, .. } = self;
        phases.time("dependencies", || {
            count.check("Cargo.lock of the fuzzers", read_lock_of_fuzzers())?;
            match search_unused() {
                Ok(machete) => count.check("unused dependencies", machete)?,
                Err(error) => count.record("unused dependencies", Err(error)),
            }
            let deny = match Deny::prepare() {
                Ok(deny) => deny,
                Err(error) => {
                    *without_advisories = Some("cargo-deny could not be built".to_owned());
                    count.record("licenses, bans and sources", Err(error));
                    return Ok(());
                }
            };
            count.check("licenses, bans and sources", deny.policy())?;
            match deny.fetch_advisories() {
                Ok(()) => count.check("advisories", deny.advisories())?,
                Err(error) => *without_advisories = Some(format!("{error:#}")),
            }
            Ok(())
        })
    }

    pub(super) fn failed(&self) -> u64 {
        self.count.failed + stories::count(&self.outcomes).1
    }

    /// What failed and the line with the totals come last.
    pub(super) fn print(&self, times: u32) -> Result<()> {
        let mut text = self.phases.shown();
        text.push_str(&stories::summary::by_kind(&self.outcomes));
        if let Some(why) = &self.without_uml {
            text.push_str(&format!("nothing ran under User-Mode Linux: {why}\n"));
        }
        if let Some(why) = &self.without_advisories {
            text.push_str(&format!("\nADVISORIES WERE NOT CHECKED: {why}\n"));
        }
        if times > 1 {
            text.push_str(&stories::summary::seconds(&self.outcomes));
        }
        text.push_str(&stories::summary::failures(&self.outcomes));
        let (passed, _, skipped) = stories::count(&self.outcomes);
        let (passed, skipped) = (passed + self.count.passed, skipped + self.count.skipped);
        progress::say(&format!(
            "{text}\n{passed} passed, {} failed, {skipped} skipped",
            self.failed()
        ))
    }
}

impl Phases {
    pub(super) fn time<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let begin = Instant::now();
        let result = work();
        self.0.push((name, begin.elapsed()));
        result
    }

    fn shown(&self) -> String {
        let all: Duration = self.0.iter().map(|(_, took)| *took).sum();
        let lines = self.0.iter().copied().chain([("all", all)]);
        let lines = lines.map(|(name, took)| format!("{name:<44} {:>10.1}\n", took.as_secs_f64()));
        format!("\n{:<44} {:>10}\n{}", "phase", "seconds", lines.collect::<String>())
    }
}

impl Count {
    pub(super) fn record(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    pub(super) fn check(&mut self, name: &str, mut command: Command) -> Result<()> {
        eprintln!("== {name}");
        let status = command.status().with_context(|| format!("starting {name}"))?;
        self.record(name, if status.success() { Ok(()) } else { Err(anyhow::anyhow!("{status}")) });
        Ok(())
    }

    /// Runs tests, shows what they print, and counts by their closing lines.
    pub(super) fn tests(&mut self, name: &str, mut runner: Command) -> Result<()> {
        eprintln!("== {name}");
        let mut child =
            runner.stdout(Stdio::piped()).spawn().with_context(|| format!("starting {name}"))?;
        let output = child.stdout.take().context("no output")?;
        let before = self.failed;
        for line in BufReader::new(output).lines() {
            let line = line?;
            progress::say(&line)?;
            self.add(&line);
        }
        // A runner that fails without a counted failure could not even be built.
        if !child.wait()?.success() && self.failed == before {
            self.failed += 1;
        }
        Ok(())
    }

    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| -> u64 {
            let words: Vec<&str> = rest.split([' ', ';']).filter(|part| !part.is_empty()).collect();
            let position = words.iter().position(|part| *part == word);
            position.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed");
        self.skipped += number("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn closing_lines_are_counted() {
        let mut count = Count::default();
        count.add(
            "test result: FAILED. 6 passed; 8 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 3s",
        );
        count.add("test some::thing ... ok");
        assert_eq!((count.passed, count.failed, count.skipped), (6, 8, 1));
    }
}
