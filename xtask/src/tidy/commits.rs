//! Subjects of commits: short enough for every list of them.

use crate::paths;
use std::process::Command;

/// The last commit that may have a longer one.
const BASE: &str = "f16115070b97b196ce8258a5e151f0bc9d351589";
/// Columns.
const LONGEST: usize = 72;

/// What is wrong since then. Without git, or without that commit, there is no history to check.
pub(super) fn check() -> Vec<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").current_dir(paths::root()).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let range = format!("{BASE}..HEAD");
    let log = git(&["merge-base", "--is-ancestor", BASE, "HEAD"])
        .and_then(|_| git(&["log", "--format=%h %s", &range]));
    too_long(&log.unwrap_or_default())
}

/// A line of the log is a hash and a subject.
fn too_long(log: &str) -> Vec<String> {
    let commits = log.lines().filter_map(|line| line.split_once(' '));
    let long = commits.filter(|(_, subject)| subject.chars().count() > LONGEST);
    let wrong = long.map(|(hash, subject)| {
        let columns = subject.chars().count();
        format!("commit {hash}: its subject has {columns} columns (at most {LONGEST}): {subject}")
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, too_long};

    #[test]
    fn a_subject_that_is_too_long_is_named() {
        let fits = "é".repeat(LONGEST);
        assert!(too_long(&format!("abc1234 {fits}\n")).is_empty());
        let wrong = too_long(&format!("abc1234 {fits}\ndef5678 {fits}x\n"));
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].starts_with("commit def5678: its subject has 73 columns"), "{wrong:?}");
        assert!(too_long("").is_empty());
    }
}
