//! How long each story took when it last ran on this machine, and on which kinds of machines. So
//! the longest starts first, and the image for QEMU is written only if a story needs it. All
//! checkouts share the file. A machine that ran none yet begins with what another one knew, from
//! `tests/stories.json`.

use super::outcome::{Outcome, Took, Verdict};
use crate::paths;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A copy of the file of another machine.
const OF_ANOTHER: &str = "tests/stories.json";

pub(super) type Known = BTreeMap<String, Took>;

/// What is known; a damaged file has nothing.
pub(super) fn load() -> Known {
    let mut known = read(&paths::root().join(OF_ANOTHER));
    known.extend(read(&file()));
    known
}

fn read(file: &Path) -> Known {
    let read = fs::read(file).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Adds the results of a run. Another checkout may write at the same time: each file is complete,
/// and one of them stays.
pub(super) fn remember(outcomes: &[Outcome]) -> Result<()> {
    let mut known = load();
    outcomes.iter().for_each(|outcome| learn(&mut known, outcome));
    let fresh = file().with_extension(std::process::id().to_string());
    fs::create_dir_all(paths::shared_cache(""))?;
    fs::write(&fresh, serde_json::to_vec_pretty(&known)?)
        .and_then(|()| fs::rename(&fresh, file()))
        .with_context(|| format!("writing {}", file().display()))
}

/// A failed story may not have started all of its machines: those that it did start are added to
/// what was known.
fn learn(known: &mut Known, outcome: &Outcome) {
    match outcome.verdict {
        Verdict::Passed => drop(known.insert(outcome.name.clone(), outcome.took.clone())),
        Verdict::Failed(_) if !outcome.took.kinds.is_empty() => {
            let entry = known.entry(outcome.name.clone()).or_insert_with(|| outcome.took.clone());
            entry.kinds.extend(outcome.took.kinds.iter().cloned());
        }
        Verdict::Failed(_) | Verdict::Skipped => {}
    }
}

fn file() -> PathBuf {
    paths::shared_cache("stories.json")
}

#[cfg(test)]
mod tests {
    use super::{Known, Outcome, Took, Verdict, learn};
    use std::path::PathBuf;

    fn outcome(verdict: Verdict, seconds: f64, kinds: &[&str]) -> Outcome {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let (name, took) = ("story".to_owned(), Took { seconds, kinds });
        Outcome { name, verdict, took, cpu_seconds: None, log: PathBuf::new(), folders: Vec::new() }
    }

    #[test]
    fn the_file_in_the_repository_can_be_read() {
        let known = super::read(&crate::paths::root().join(super::OF_ANOTHER));
        assert!(known.values().any(Took::is_uml) && !known.values().all(Took::is_uml));
    }

    #[test]
    fn a_failure_adds_kinds_and_forgets_none() {
        let mut known = Known::new();
        let failed = || Verdict::Failed("exit status: 101".to_owned());
        learn(&mut known, &outcome(failed(), 1.0, &[]));
        learn(&mut known, &outcome(Verdict::Skipped, 1.0, &[]));
        assert!(known.is_empty(), "it may need QEMU");
        learn(&mut known, &outcome(Verdict::Passed, 9.0, &["uml"]));
        learn(&mut known, &outcome(failed(), 1.0, &["qemu"]));
        assert!(!known["story"].is_uml());
        assert_eq!((known["story"].seconds, known["story"].kinds.len()), (9.0, 2));
        learn(&mut known, &outcome(Verdict::Passed, 8.0, &["uml"]));
        assert!(known["story"].is_uml());
    }
}
