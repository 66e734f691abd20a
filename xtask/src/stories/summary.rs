//! What is printed of all stories at the end of a run.

use super::outcome::Outcome;
use std::collections::BTreeMap;

/// How to reach a machine whose story failed.
const HOW_TO_KEEP: &str = "`cargo xtask test --story NAME --no-image --keep` leaves the machine \
                           on, and prints how to log in\n";

/// How many stories ran on which kind of machine, for how long, and the processor time that they
/// used.
pub(crate) fn by_kind(outcomes: &[Outcome]) -> String {
    let mut kinds: BTreeMap<String, (usize, f64, f64)> = BTreeMap::new();
    for outcome in outcomes {
        let kind = outcome.took.kinds.iter().cloned().collect::<Vec<_>>().join(" and ");
        let (stories, seconds, cpu) = kinds.entry(kind).or_default();
        *stories += 1;
        *seconds += outcome.took.seconds;
        *cpu += outcome.cpu_seconds.unwrap_or_default();
    }
    let lines = kinds.into_iter().map(|(kind, (stories, seconds, cpu))| {
        let kind = match kind.as_str() {
            "uml" => "User-Mode Linux",
            "qemu" => "QEMU",
            "" => "the engine alone, in a sandbox",
            other => other,
        };
        format!("{kind:<44} {stories:>8} {seconds:>10.0} {cpu:>10.0}\n")
    });
    let title = "stories by kind of machine";
    table(format!("{title:<44} {:>8} {:>10} {:>10}", "stories", "seconds", "of CPU"), lines)
}

/// The shortest, the median and the longest run of each.
pub(crate) fn seconds(outcomes: &[Outcome]) -> String {
    let lines = by_name(outcomes).into_iter().map(|(name, runs)| {
        let mut seconds: Vec<f64> = runs.iter().map(|run| run.took.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let at = |index: usize| seconds.get(index).copied().unwrap_or(f64::NAN);
        let (middle, last) = (seconds.len() / 2, seconds.len().saturating_sub(1));
        format!(
            "{name:<74} {:>6} {:>8.1} {:>8.1} {:>8.1}\n",
            seconds.len(),
            at(0),
            at(middle),
            at(last)
        )
    });
    let title = "seconds of each story";
    table(
        format!("{title:<74} {:>6} {:>8} {:>8} {:>8}", "runs", "minimum", "median", "maximum"),
        lines,
    )
}

/// Each story that failed, how often, and where the log and the files of its first failure are.
pub(crate) fn failures(outcomes: &[Outcome]) -> String {
    let lines = by_name(outcomes).into_iter().filter_map(|(name, runs)| {
        let failed: Vec<&&Outcome> = runs.iter().filter(|run| run.has_failed()).collect();
        let first = failed.first()?;
        let mut line = format!(
            "{name} failed {} of {}, log at {}",
            failed.len(),
            runs.len(),
            first.log.display()
        );
        line.extend(first.folders.iter().map(|folder| format!(", files in {}", folder.display())));
        Some(line + "\n")
    });
    let mut text = table("stories that failed".to_owned(), lines);
    if outcomes.iter().any(|outcome| outcome.has_failed() && !outcome.took.kinds.is_empty()) {
        text.push_str(HOW_TO_KEEP);
    }
    text
}

fn by_name(outcomes: &[Outcome]) -> BTreeMap<&str, Vec<&Outcome>> {
    let mut names: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        names.entry(&outcome.name).or_default().push(outcome);
    }
    names
}

/// Empty without lines.
fn table(title: String, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n{title}\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::{failures, seconds};
    use crate::stories::outcome::Took;
    use crate::stories::outcome::{Outcome, Verdict};

    fn outcome(name: &str, verdict: Verdict, seconds: f64) -> Outcome {
        let took = Took { seconds, ..Took::default() };
        let log = format!("/logs/{name}-{seconds}.log").into();
        Outcome {
            name: name.to_owned(),
            verdict,
            took,
            cpu_seconds: None,
            log,
            folders: vec![format!("/files/{name}").into()],
        }
    }

    #[test]
    fn what_failed_is_named_with_its_first_log() {
        let failed = || Verdict::Failed("exit status: 101".to_owned());
        let outcomes = [
            outcome("b", Verdict::Passed, 1.0),
            outcome("a", failed(), 2.0),
            outcome("a", Verdict::Passed, 3.0),
            outcome("a", failed(), 4.0),
        ];
        let line = "a failed 2 of 3, log at /logs/a-2.log, files in /files/a\n";
        assert_eq!(
            failures(&outcomes),
            format!("\nstories that failed\n{line}"),
            "it had no machine"
        );
        assert_eq!(failures(&outcomes[..1]), "");
        let mut with_machine = outcomes[1].clone();
        with_machine.took.kinds.insert("uml".to_owned());
        assert!(failures(&[with_machine]).ends_with(super::HOW_TO_KEEP));
        let table = seconds(&outcomes);
        let line = table.lines().nth(2).map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(line, Some(vec!["a", "3", "2.0", "3.0", "4.0"]));
    }
}
