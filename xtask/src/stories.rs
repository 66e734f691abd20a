//! Runs the stories and the tests of the system engine: each in its own process, several at a time,
//! the longest first. Prints how long each took and on which kind of machine, and the output of
//! failed ones.

mod known;
mod one;
mod outcome;
mod queue;
pub(crate) mod summary;

use self::known::Known;
use self::one::Run;
pub(crate) use self::outcome::Outcome;
use self::outcome::Verdict;
use self::queue::{Job, Queue};
use crate::{lock, paths, progress, sh};
use anyhow::{Context, Result, anyhow, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use vmtest::Kind;

/// The shortest deadline of a story.
const DEADLINE: Duration = Duration::from_secs(40 * 60);

/// How to run them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// Every machine runs in QEMU.
    pub(crate) in_qemu: bool,
    /// Machines that still run at the end of a story keep running.
    pub(crate) keep: bool,
    /// Stories that take long for what they show are left out.
    pub(crate) is_usual: bool,
    /// How often each is run.
    pub(crate) times: u32,
    /// How many run at a time, and how many of them may need QEMU.
    pub(crate) slots: (usize, usize),
    /// The folder of the release whose disks are booted.
    pub(crate) release: Option<&'a Path>,
}

/// A test program of ours, and where it runs.
#[derive(Debug, Clone)]
struct Runner {
    program: PathBuf,
    folder: PathBuf,
}

/// The runners, built, and what they have to run.
#[derive(Debug, Clone)]
pub(crate) struct Stories {
    runners: Vec<Runner>,
    /// (which runner, the name there)
    names: Vec<(usize, String)>,
    known: Known,
}

impl Stories {
    /// Builds the runners, and reads the list of their tests. With parts of names: only stories
    /// whose name contains one of them.
    pub(crate) fn build(parts: &[String]) -> Result<Stories> {
        let mut stories = Stories { runners: Vec::new(), names: Vec::new(), known: known::load() };
        stories.add("vmtest", "stories", "tests", parts)?;
        if parts.is_empty() {
            stories.add("engine-tests", "engine", "tests/engine", parts)?;
        }
        let is_found =
            |part: &&String| stories.names.iter().any(|(_, name)| name.contains(part.as_str()));
        let unknown: Vec<&str> =
            parts.iter().filter(|part| !is_found(part)).map(String::as_str).collect();
        ensure!(!stories.is_empty() || !unknown.is_empty(), "there is no story");
        ensure!(unknown.is_empty(), "no story's name contains {}", unknown.join(", or "));
        Ok(stories)
    }

    fn add(&mut self, package: &str, test: &str, folder: &str, parts: &[String]) -> Result<()> {
        let runner = Runner { program: build(package, test)?, folder: paths::root().join(folder) };
        let list = sh::output(Command::new(&runner.program).args(["--list", "--format", "terse"]))?;
        let is_wanted =
            |name: &&str| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()));
        let names = list.lines().filter_map(|line| line.strip_suffix(": test")).filter(is_wanted);
        let number = self.runners.len();
        self.names.extend(names.map(|name| (number, name.to_owned())));
        self.runners.push(runner);
        Ok(())
    }

    /// May one of them need QEMU, as far as is known?
    pub(crate) fn need_qemu(&self) -> bool {
        !self.names.iter().all(|(_, name)| self.known.get(name).is_some_and(|took| took.is_uml()))
    }

    /// Is one of them in this module?
    pub(crate) fn have(&self, module: &str) -> bool {
        self.names.iter().any(|(_, name)| name.starts_with(module))
    }

    /// Those of them that started a machine of this kind.
    pub(crate) fn that_ran_in(&self, kind: Kind, outcomes: &[Outcome]) -> Stories {
        let mut those = self.clone();
        those.names.retain(|(_, name)| {
            outcomes.iter().any(|outcome| &outcome.name == name && outcome.took.has(kind))
        });
        those
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn has(&self, outcome: &Outcome) -> bool {
        self.names.iter().any(|(_, name)| name == &outcome.name)
    }

    /// Runs them all; prints a line for each. `outcomes` also gets those that ended before an
    /// error. Their logs are in a folder of this phase.
    pub(crate) fn run(
        &self,
        phase: &str,
        options: &Options<'_>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<()> {
        let logs = logs().join(phase.replace(' ', "-"));
        fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
        let runners = self.copy_runners(&logs)?;
        let queue = Queue::new(self.jobs(options), options.slots.1);
        let ended = Mutex::new(Vec::new());
        let work = || -> Result<()> {
            while let Some(turn) = queue.take()? {
                let runner = runners.get(turn.runner).context("a test without a runner")?;
                let outcome = runner.run(&turn, &logs, options);
                let shown = outcome.shown(options.keep);
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                // If the reader of the output is gone, the rest is not run.
                progress::say(&shown).inspect_err(|_| queue.stop())?;
            }
            Ok(())
        };
        let result = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..options.slots.0).map(|_| scope.spawn(work)).collect();
            let results = workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow!("a worker ended early"))?);
            // Join all of them before the first error is returned.
            results.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
        });
        let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        let remembered = if options.in_qemu { Ok(()) } else { known::remember(&ended) };
        outcomes.extend(ended);
        result.and(remembered)
    }

    /// Another cargo build replaces its programs; all stories of one run must use the same program.
    fn copy_runners(&self, folder: &Path) -> Result<Vec<Runner>> {
        let copy = |runner: &Runner| {
            let copy = folder.join(runner.program.file_name().context("a runner without a name")?);
            fs::copy(&runner.program, &copy)
                .with_context(|| format!("writing {}", copy.display()))?;
            Ok(Runner { program: copy, folder: runner.folder.clone() })
        };
        self.runners.iter().map(copy).collect()
    }

    fn jobs(&self, options: &Options<'_>) -> Vec<Job> {
        let job = |round: u32, runner: usize, name: &String| {
            let known = self.known.get(name);
            let is_uml = known.is_some_and(|took| took.is_uml()) && !options.in_qemu;
            let seconds = known.map_or(f64::INFINITY, |took| took.seconds);
            Job { runner, name: name.clone(), round, seconds, needs_qemu: !is_uml }
        };
        (0..options.times)
            .flat_map(|round| {
                self.names.iter().map(move |(runner, name)| job(round, *runner, name))
            })
            .collect()
    }
}

impl Runner {
    fn run(&self, job: &Job, logs: &Path, options: &Options<'_>) -> Outcome {
        let log = logs.join(format!("{}-{}.log", job.name.replace("::", "-"), job.round));
        let Options { in_qemu, keep, is_usual, release, .. } = *options;
        let (program, folder, name) =
            (self.program.as_path(), self.folder.as_path(), job.name.as_str());
        let deadline = deadline(job.seconds);
        Run { program, folder, name, log, in_qemu, keep, is_usual, release, deadline }.finish()
    }
}

/// A story that hangs must not hold up the rest. In QEMU on a busy machine, one may take several
/// times as long as the last time.
fn deadline(seconds: f64) -> Duration {
    let usual = if seconds.is_finite() { seconds } else { 0.0 };
    DEADLINE.max(Duration::from_secs_f64(usual * 3.0))
}

/// The logs of the last run: a folder for each of its phases.
fn logs() -> PathBuf {
    paths::cache("stories")
}

/// Waits until no other run of stories is active. With twice as many machines as this one can run,
/// stories fail because they are slow. Removes the old logs.
pub(crate) fn begin() -> Result<File> {
    let lock = lock::alone("stories.lock", "which runs stories in this checkout")?;
    let _ = fs::remove_dir_all(logs());
    Ok(lock)
}

/// Builds a test program; returns its path.
pub(crate) fn build(package: &str, test: &str) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args([
        "test",
        "--package",
        package,
        "--test",
        test,
        "--no-run",
        "--message-format",
        "json",
    ]);
    let output = cargo.stderr(Stdio::inherit()).output().context("starting cargo")?;
    ensure!(output.status.success(), "building {package} failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == test)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo made no {test}"))
}

/// How many passed, failed, and were skipped.
pub(crate) fn count(outcomes: &[Outcome]) -> (u64, u64, u64) {
    let number =
        |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count() as u64;
    let passed = number(|outcome| outcome.verdict == Verdict::Passed);
    (passed, number(Outcome::has_failed), number(|outcome| outcome.verdict == Verdict::Skipped))
}
