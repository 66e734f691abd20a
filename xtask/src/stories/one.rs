//! One run of one story, in its own process, and its outcome.

use super::outcome::{Outcome, Took, Verdict};
use crate::paths;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use vmtest::Kind;
use vmtest::cgroup::Cgroup;
use vmtest::options::KIND_VARIABLE;
use vmtest::process::{KEEP_VARIABLE, tied, wait};
use vmtest::release::FOLDER_VARIABLE;
use vmtest::report::{FOLDER, REPORT_VARIABLE, SKIPPED, USUAL_VARIABLE};

/// Variables that developers set for themselves. Servers on loopback are not behind a proxy, keys
/// of an agent log in to no machine, and the engine is the test's.
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
    /// Every machine runs in QEMU.
    pub(super) in_qemu: bool,
    /// Machines that still run at its end keep running.
    pub(super) keep: bool,
    /// A story that takes long for what it shows is left out.
    pub(super) is_usual: bool,
    /// The folder of the release whose disks are booted.
    pub(super) release: Option<&'a Path>,
    /// When it is killed, if it has not exited by itself.
    pub(super) deadline: Duration,
}

impl Run<'_> {
    /// Runs it to its end. An error that keeps it from running is a failure too.
    pub(super) fn finish(self) -> Outcome {
        let begin = Instant::now();
        // It only measures: a story runs without it too.
        let group = Cgroup::make().ok();
        let mut verdict = self
            .start(group.as_ref())
            .unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
        let seconds = begin.elapsed().as_secs_f64();
        let used = group.and_then(|group| group.processor_time().ok());
        let cpu_seconds = used.map(|time| time.as_secs_f64());
        let reported = Reported::read(&fs::read_to_string(self.report()).unwrap_or_default());
        if reported.is_skipped && verdict == Verdict::Passed {
            verdict = Verdict::Skipped;
        }
        let took = Took { seconds, kinds: reported.kinds };
        let (name, folders) = (self.name.to_owned(), reported.folders);
        Outcome { name, verdict, took, cpu_seconds, log: self.log, folders }
    }

    /// The file to which each machine adds its kind. A story adds its folder, or that it does
    /// nothing.
    fn report(&self) -> PathBuf {
        self.log.with_extension("machines")
    }

    fn start(&self, group: Option<&Cgroup>) -> Result<Verdict> {
        let output =
            File::create(&self.log).with_context(|| format!("writing {}", self.log.display()))?;
        let mut command = tied(self.program);
        command
            .args(["--exact", self.name, "--nocapture"])
            .env(REPORT_VARIABLE, self.report())
            .env(paths::TARGET_VARIABLE, paths::target())
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Tests compare messages of tools in English.
            .env("LC_ALL", "C");
        for variable in OWN {
            command.env_remove(variable).env_remove(variable.to_uppercase());
        }
        if self.in_qemu {
            command.env(KIND_VARIABLE, Kind::Qemu.name());
        }
        if self.is_usual {
            command.env(USUAL_VARIABLE, "yes");
        }
        if self.keep {
            command.env(KEEP_VARIABLE, "yes");
        }
        if let Some(release) = self.release {
            command.env(FOLDER_VARIABLE, release);
        }
        let mut child = command.spawn().context("starting a story")?;
        if let Some(group) = group {
            let _ = group.add(child.id());
        }
        let Some(status) = wait(&mut child, self.deadline).context("waiting for a story")? else {
            child.kill().context("killing a story")?;
            child.wait()?;
            return Ok(Verdict::Failed(format!(
                "not done after {} minutes",
                self.deadline.as_secs() / 60
            )));
        };
        Ok(match status.success() {
            true => closing_line(&read_output(&self.log)),
            false => Verdict::Failed(status.to_string()),
        })
    }
}

/// What a story recorded in its report.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reported {
    kinds: BTreeSet<String>,
    folders: Vec<PathBuf>,
    is_skipped: bool,
}

impl Reported {
    fn read(text: &str) -> Reported {
        let mut reported = Reported::default();
        for line in text.lines() {
            if line == SKIPPED {
                reported.is_skipped = true;
            } else if let Some(folder) = line.strip_prefix(FOLDER) {
                reported.folders.push(folder.into());
            } else {
                reported.kinds.insert(line.to_owned());
            }
        }
        reported
    }
}

impl Outcome {
    /// A line for it. Also its output, if it did not pass or must show how to log in.
    pub(super) fn shown(&self, keep: bool) -> String {
        let kinds = self.took.kinds.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
        let kinds = if kinds.is_empty() { "sandbox" } else { &kinds };
        let verdict = match &self.verdict {
            Verdict::Passed => "ok".to_owned(),
            Verdict::Skipped => "skipped".to_owned(),
            Verdict::Failed(why) => format!("FAILED: {why}"),
        };
        let used = self.cpu_seconds.map(|cpu| format!(", {cpu:.1} s of CPU")).unwrap_or_default();
        let (name, seconds) = (&self.name, self.took.seconds);
        let mut text = format!("test {name} ... {verdict} ({seconds:.1} s{used}, {kinds})");
        if self.verdict != Verdict::Passed || keep {
            text.push_str(&format!("\n---- {}\n{}----", self.name, read_output(&self.log)));
        }
        text
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

fn read_output(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

/// A runner that finds no test of this name exits with 0 too, and so does one that ignores it.
fn closing_line(output: &str) -> Verdict {
    let line = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("test result: "))
        .unwrap_or_default();
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
    use super::{Reported, Verdict, closing_line};

    #[test]
    fn a_report_has_kinds_and_folders() {
        let reported = Reported::read("folder /var/tmp/a b\numl\nqemu\numl\n");
        let kinds = ["qemu", "uml"].map(str::to_owned).into();
        assert_eq!(
            reported,
            Reported { kinds, folders: vec!["/var/tmp/a b".into()], is_skipped: false }
        );
        assert!(Reported::read("skipped\n").is_skipped);
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
