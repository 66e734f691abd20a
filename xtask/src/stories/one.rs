//! One run of one story, in a process of its own, and what became of it.

use super::outcome::{Outcome, Took, Verdict};
use crate::paths;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use vmtest::Kind;
use vmtest::options::KIND_VARIABLE;
use vmtest::process::{KEEP_VARIABLE, tied};
use vmtest::report::{REPORT_VARIABLE, SKIPPED};

/// What developers set for themselves: servers on loopback are not behind a proxy, keys of an agent open no machine,
/// and the engine is the test's.
const OWN: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "ssh_auth_sock",
    "docker_host",
    "docker_context",
    "docker_config",
    "docker_tls_verify",
];

/// What is to run, and how.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// The test program that has the story, and the folder that it runs in.
    pub(super) program: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) name: &'a str,
    /// Where its output is kept.
    pub(super) log: PathBuf,
    /// Every machine is QEMU's.
    pub(super) in_qemu: bool,
    /// Machines that are there at its end go on.
    pub(super) keep: bool,
    /// When it is ended, if it has not ended by itself.
    pub(super) deadline: Duration,
}

impl Run<'_> {
    /// Runs it to its end. What keeps it from running is a failure as well.
    pub(super) fn finish(self) -> Outcome {
        let begin = Instant::now();
        let mut verdict = self.start().unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
        let seconds = begin.elapsed().as_secs_f64();
        let reported = fs::read_to_string(self.report()).unwrap_or_default();
        let mut kinds: BTreeSet<String> = reported.lines().map(str::to_owned).collect();
        if kinds.remove(SKIPPED) && verdict == Verdict::Passed {
            verdict = Verdict::Skipped;
        }
        Outcome { name: self.name.to_owned(), verdict, took: Took { seconds, kinds }, log: self.log }
    }

    /// The file that each machine adds its kind to, and a story that it does nothing.
    fn report(&self) -> PathBuf {
        self.log.with_extension("machines")
    }

    fn start(&self) -> Result<Verdict> {
        let output = File::create(&self.log).with_context(|| format!("writing {}", self.log.display()))?;
        let mut command = tied(self.program);
        command
            .args(["--exact", self.name, "--nocapture"])
            .env(REPORT_VARIABLE, self.report())
            .env(paths::TARGET_VARIABLE, paths::target())
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // What tools say is compared in English.
            .env("LC_ALL", "C");
        for variable in OWN {
            command.env_remove(variable).env_remove(variable.to_uppercase());
        }
        if self.in_qemu {
            command.env(KIND_VARIABLE, Kind::Qemu.name());
        }
        if self.keep {
            command.env(KEEP_VARIABLE, "yes");
        }
        let mut child = command.spawn().context("starting a story")?;
        let Some(status) = wait(&mut child, self.deadline)? else {
            child.kill().context("killing a story")?;
            child.wait()?;
            return Ok(Verdict::Failed(format!("not done after {} minutes", self.deadline.as_secs() / 60)));
        };
        Ok(match status.success() {
            true => closing_line(&said(&self.log)),
            false => Verdict::Failed(status.to_string()),
        })
    }
}

/// Waits for the end of a process, at most so long.
fn wait(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        let status = child.try_wait().context("waiting for a story")?;
        if status.is_some() || Instant::now() > deadline {
            return Ok(status);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

impl Outcome {
    /// A line for it, and its output if it failed or has to say how to log in.
    pub(super) fn shown(&self, keep: bool) -> String {
        let kinds = self.took.kinds.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
        let kinds = if kinds.is_empty() { "sandbox" } else { &kinds };
        let verdict = match &self.verdict {
            Verdict::Passed => "ok".to_owned(),
            Verdict::Skipped => "skipped".to_owned(),
            Verdict::Failed(why) => format!("FAILED: {why}"),
        };
        let mut text = format!("test {} ... {verdict} ({:.1} s, {kinds})", self.name, self.took.seconds);
        if self.verdict != Verdict::Passed || keep {
            text.push_str(&format!("\n---- {}\n{}----", self.name, said(&self.log)));
        }
        text
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

fn said(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

/// A runner that finds no test of this name ends with 0 too, as one does that ignores it.
fn closing_line(said: &str) -> Verdict {
    let line = said.lines().rev().find_map(|line| line.strip_prefix("test result: ")).unwrap_or_default();
    if line.starts_with("ok. 1 passed; 0 failed; 0 ignored;") {
        Verdict::Passed
    } else if line.starts_with("ok. 0 passed; 0 failed; 1 ignored;") {
        Verdict::Skipped
    } else {
        Verdict::Failed(format!("its runner ran no test: {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, closing_line, wait};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn what_does_not_end_is_waited_for_until_its_deadline() {
        let mut hangs = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(wait(&mut hangs, Duration::from_millis(1)).unwrap(), None);
        drop(hangs.stdin.take());
        assert!(wait(&mut hangs, Duration::from_secs(60)).unwrap().is_some_and(|status| status.success()));
    }

    #[test]
    fn a_story_that_did_not_run_has_not_passed() {
        let line = |counts: &str| {
            closing_line(&format!(
                "test result: ok. 1 passed; 0 failed; 0 ignored; of a story in a story\n\
                 test result: ok. {counts}; 0 measured; 80 filtered out; finished in 0.00s\n\n"
            ))
        };
        assert_eq!(line("1 passed; 0 failed; 0 ignored"), Verdict::Passed);
        assert_eq!(line("0 passed; 0 failed; 1 ignored"), Verdict::Skipped);
        assert!(matches!(line("0 passed; 0 failed; 0 ignored"), Verdict::Failed(_)));
        assert!(matches!(closing_line(""), Verdict::Failed(_)));
    }
}
