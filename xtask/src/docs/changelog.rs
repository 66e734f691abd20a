//! `CHANGELOG.md`: the form of <https://keepachangelog.com>. Below each version are upgrade notes,
//! then the changes by their kind.

use super::documents::Document;
use super::links::without_fences;

/// Its path from the root of the checkout.
const NAME: &str = "CHANGELOG.md";
/// What an owner of an earlier version must know.
const NOTES: &str = "Upgrade notes";
/// The kinds of changes.
const KINDS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
/// What the heading of a version begins with: `[Unreleased]`, or `[1.2.3] - 2027-01-31`.
const VERSION: &str = "[";

/// Headings that do not belong there, and versions without upgrade notes at their top.
pub(super) fn problems(documents: &[Document]) -> Vec<String> {
    let Some(changelog) = documents.iter().find(|document| document.name == NAME) else {
        return vec![format!("there is no {NAME}")];
    };
    let mut found = Vec::new();
    let mut is_first_of_version = false;
    let mut versions = 0;
    for (line, text) in (1..).zip(without_fences(&changelog.text)) {
        if let Some(version) = text.strip_prefix("## ") {
            if is_first_of_version {
                found.push(without_notes(line));
            }
            versions += 1;
            is_first_of_version = true;
            found.extend(wrong_version(line, version));
        } else if let Some(heading) = text.strip_prefix("### ") {
            if is_first_of_version && heading != NOTES {
                found.push(without_notes(line));
            }
            is_first_of_version = false;
            found.extend(wrong_kind(line, heading));
        }
    }
    if is_first_of_version {
        found.push(without_notes(changelog.text.lines().count()));
    }
    if versions == 0 {
        found.push(format!("{NAME}: it has no version; begin one with `## [Unreleased]`"));
    }
    found
}

fn without_notes(line: usize) -> String {
    format!("{NAME}:{line}: before this line the version needs a section `### {NOTES}`")
}

fn wrong_version(line: usize, version: &str) -> Option<String> {
    let is_version = version.starts_with(VERSION);
    (!is_version).then(|| {
        format!("{NAME}:{line}: write `## [Unreleased]` or `## [1.2.3] - 2027-01-31`: {version}")
    })
}

fn wrong_kind(line: usize, heading: &str) -> Option<String> {
    let is_kind = heading == NOTES || KINDS.contains(&heading);
    (!is_kind).then(|| {
        format!("{NAME}:{line}: {heading:?} is not {NOTES:?} or one of {}", KINDS.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> Vec<String> {
        problems(&[Document { name: NAME.to_owned(), text: text.to_owned() }])
    }

    #[test]
    fn the_form_of_keep_a_changelog_has_no_problems() {
        let text = "# Changelog\n\n## [Unreleased]\n\n### Upgrade notes\n\n- a\n\n### Added\n\n\
                    **Console**\n\n- b\n\n## [0.1.0] - 2027-01-31\n\n### Upgrade notes\n\n- c\n";
        assert_eq!(problems_of(text), Vec::<String>::new());
    }

    #[test]
    fn other_headings_are_reported_with_their_lines() {
        let text = "## 0.2.0\n### Upgrade notes\n### Console\n```\n### no heading\n```\n";
        assert_eq!(
            problems_of(text),
            [
                "CHANGELOG.md:1: write `## [Unreleased]` or `## [1.2.3] - 2027-01-31`: 0.2.0",
                "CHANGELOG.md:3: \"Console\" is not \"Upgrade notes\" or one of Added, Changed, \
                 Deprecated, Removed, Fixed, Security",
            ]
        );
    }

    #[test]
    fn each_version_needs_upgrade_notes_at_its_top() {
        let missing = |line: usize| {
            let what = "before this line the version needs a section `### Upgrade notes`";
            format!("CHANGELOG.md:{line}: {what}")
        };
        let late = "## [0.2.0]\n### Added\n### Upgrade notes\n";
        assert_eq!(problems_of(late), [missing(2)]);
        let empty = "## [0.2.0]\n## [0.1.0]\n";
        assert_eq!(problems_of(empty), [missing(2), missing(2)]);
        let none = "CHANGELOG.md: it has no version; begin one with `## [Unreleased]`";
        assert_eq!(problems_of("# Changelog\n"), [none]);
    }
}
