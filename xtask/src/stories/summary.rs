//! What is printed of all stories at the end of a run.

use super::outcome::Outcome;
use std::collections::BTreeMap;

/// On which kind of machine how many ran, and for how long.
pub(crate) fn by_kind(outcomes: &[Outcome]) -> String {
    let mut kinds: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for outcome in outcomes {
        let kind = outcome.took.kinds.iter().cloned().collect::<Vec<_>>().join(" and ");
        let entry = kinds.entry(kind).or_default();
        *entry = (entry.0 + 1, entry.1 + outcome.took.seconds);
    }
    let lines = kinds.into_iter().map(|(kind, (stories, seconds))| {
        let kind = match kind.as_str() {
            "uml" => "User-Mode Linux",
            "qemu" => "QEMU",
            "" => "the engine alone, in a sandbox",
            other => other,
        };
        format!("{kind:<44} {stories:>8} {seconds:>10.0}\n")
    });
    table(format!("{:<44} {:>8} {:>10}", "stories by kind of machine", "stories", "seconds"), lines)
}

/// The shortest, the middle and the longest run of each.
pub(crate) fn seconds(outcomes: &[Outcome]) -> String {
    let lines = by_name(outcomes).into_iter().map(|(name, runs)| {
        let mut seconds: Vec<f64> = runs.iter().map(|run| run.took.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let at = |index: usize| seconds.get(index).copied().unwrap_or(f64::NAN);
        let (middle, last) = (seconds.len() / 2, seconds.len().saturating_sub(1));
        format!("{name:<74} {:>6} {:>8.1} {:>8.1} {:>8.1}\n", seconds.len(), at(0), at(middle), at(last))
    });
    let title = "seconds of each story";
    table(format!("{title:<74} {:>6} {:>8} {:>8} {:>8}", "runs", "minimum", "median", "maximum"), lines)
}

/// Each that failed, how often, and the log of the first time.
pub(crate) fn failures(outcomes: &[Outcome]) -> String {
    let lines = by_name(outcomes).into_iter().filter_map(|(name, runs)| {
        let failed: Vec<&&Outcome> = runs.iter().filter(|run| run.has_failed()).collect();
        let log = failed.first()?.log.display();
        Some(format!("{name} failed {} of {}, log at {log}\n", failed.len(), runs.len()))
    });
    table("stories that failed".to_owned(), lines)
}

fn by_name(outcomes: &[Outcome]) -> BTreeMap<&str, Vec<&Outcome>> {
    let mut names: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        names.entry(&outcome.name).or_default().push(outcome);
    }
    names
}

/// Nothing without lines.
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
        Outcome { name: name.to_owned(), verdict, took, log: format!("/logs/{name}-{seconds}.log").into() }
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
        assert_eq!(failures(&outcomes), "\nstories that failed\na failed 2 of 3, log at /logs/a-2.log\n");
        assert_eq!(failures(&outcomes[..1]), "");
        let table = seconds(&outcomes);
        let line = table.lines().nth(2).map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(line, Some(vec!["a", "3", "2.0", "3.0", "4.0"]));
    }
}
