//! `cargo xtask test`: everything that must pass. Ends with one line `N passed, N failed, N skipped`.

use crate::{image, paths, setup, tidy, tools, variants};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the stories whose name contains this
    #[arg(long, value_name = "NAME")]
    story: Option<String>,
    /// No virtual machines
    #[arg(long)]
    quick: bool,
}

/// What the test runners counted.
#[derive(Debug, Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs everything; an error if anything failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    let mut count = Count::default();
    if options.story.is_none() {
        count.check("formatting", cargo(&["fmt", "--all", "--check"]))?;
        count.check(
            "lints",
            cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
        )?;
        count.record("tidy", tidy::check());
        count.tests(
            "unit tests",
            &["test", "--workspace", "--exclude", "vmtest", "--exclude", "engine-tests", "--quiet"],
        )?;
    }
    if !options.quick {
        image::build(&image::Options::default())?;
        tools::prepare()?;
        variants::prepare()?;
        if options.story.is_none() {
            let threads = ["test", "--package", "engine-tests", "--", "--test-threads", "2"];
            count.tests("the system engine and its clients", &threads)?;
        }
        let filter = options.story.clone().unwrap_or_default();
        // Two machines at a time: that is what two cores carry.
        let stories = [
            "test",
            "--package",
            "vmtest",
            "--test",
            "stories",
            "--",
            "--test-threads",
            "2",
            filter.as_str(),
        ];
        count.tests("stories", stories.strip_suffix(&[""]).unwrap_or(&stories))?;
    }
    println!("\n{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    if count.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

impl Count {
    fn record(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    fn check(&mut self, name: &str, mut command: Command) -> Result<()> {
        eprintln!("== {name}");
        let status = command.status().with_context(|| format!("starting {name}"))?;
        self.record(name, if status.success() { Ok(()) } else { Err(anyhow::anyhow!("{status}")) });
        Ok(())
    }

    /// Runs tests, shows what they print, and counts by their closing lines.
    fn tests(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        eprintln!("== {name}");
        let mut child =
            cargo(arguments).stdout(Stdio::piped()).spawn().with_context(|| format!("starting {name}"))?;
        let output = child.stdout.take().context("no output")?;
        let before = self.failed;
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            self.add(&line);
        }
        // A runner that fails without having counted a failure could not even be built.
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

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root()).args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn closing_lines_are_counted() {
        let mut count = Count::default();
        count.add(
            "test result: FAILED. 6 passed; 8 failed; 1 ignored; 0 measured; 0 filtered out; finished in 3s",
        );
        count.add("test some::thing ... ok");
        assert_eq!((count.passed, count.failed, count.skipped), (6, 8, 1));
    }
}
