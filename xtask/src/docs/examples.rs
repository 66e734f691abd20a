//! Each section of the manual begins with an example: a fenced block, after at most one short
//! sentence. That the examples are true is shown by the stories `manual`.

use super::documents::{Document, SUMMARY};

/// Pages of the manual are here, but for the decisions.
const FOLDER: &str = "docs/";
const DECISIONS: &str = "docs/decisions/";
/// Words of the sentence before an example.
const LONGEST: usize = 24;

/// A page, a heading of it, and why that section has no example.
type Exception = (&'static str, &'static str, &'static str);
const EXCEPTIONS: [Exception; 1] =
    [("docs/quick-start.md", "## What next", "only links to other pages")];

/// The title of a page, or a heading of the second level, with what follows it.
#[derive(Debug)]
struct Section<'a> {
    line: usize,
    heading: &'a str,
    /// The words before its first fenced block.
    words: Vec<&'a str>,
    has_example: bool,
}

/// Sections that do not begin with an example, and exceptions that no section needs.
pub(super) fn problems(documents: &[Document]) -> Vec<String> {
    without_example(documents, &EXCEPTIONS)
}

fn without_example(documents: &[Document], exceptions: &[Exception]) -> Vec<String> {
    let mut unused: Vec<&Exception> = exceptions.iter().collect();
    let mut found = Vec::new();
    for page in documents.iter().filter(|page| is_of_manual(&page.name)) {
        for section in sections(&page.text).iter().filter(|section| !section.begins_with_example())
        {
            let is_it =
                |(name, heading, _): &Exception| *name == page.name && *heading == section.heading;
            if exceptions.iter().any(is_it) {
                unused.retain(|exception| !is_it(exception));
                continue;
            }
            found.push(format!(
                "{}:{}: {:?} does not begin with an example; at most one sentence of {LONGEST} \
                 words may be before its first fenced block",
                page.name, section.line, section.heading
            ));
        }
    }
    let unused = unused.into_iter().map(|(name, heading, _)| {
        format!("{name}: {heading:?} needs no exception; remove it from xtask/src/docs/examples.rs")
    });
    found.extend(unused);
    found
}

fn is_of_manual(name: &str) -> bool {
    name.starts_with(FOLDER) && !name.starts_with(DECISIONS) && name != SUMMARY
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut is_code = false;
    for (line, text) in (1..).zip(text.lines()) {
        let is_fence = text.trim_start().starts_with("```");
        if !is_code && (text.starts_with("# ") || text.starts_with("## ")) {
            sections.push(Section { line, heading: text, words: Vec::new(), has_example: false });
        } else if let Some(section) = sections.last_mut() {
            section.has_example |= is_fence;
            if !section.has_example {
                section.words.extend(text.split_whitespace());
            }
        }
        is_code ^= is_fence;
    }
    sections
}

impl Section<'_> {
    /// A title without text of its own is before a heading that does.
    fn begins_with_example(&self) -> bool {
        let is_only_title = self.heading.starts_with("# ") && self.words.is_empty();
        is_only_title || (self.has_example && self.is_one_sentence())
    }

    /// Before the example: no second sentence, no table and no list.
    fn is_one_sentence(&self) -> bool {
        let ends_before = |word: &&str| word.ends_with('.') || ["|", "-"].contains(word);
        self.words.len() <= LONGEST && !self.words.iter().rev().skip(1).any(ends_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "```sh\nros why\n# no heading\n```\n";

    /// The lines of headings without an example.
    fn lines(text: &str) -> Vec<usize> {
        let sections = sections(text);
        let missing = sections.iter().filter(|section| !section.begins_with_example());
        missing.map(|section| section.line).collect()
    }

    #[test]
    fn an_example_may_be_after_one_short_sentence() {
        let text = format!("# A\n\n## B\n\n{EXAMPLE}\nText. More.\n\n## C\n\nOne sentence:\n\n");
        assert_eq!(lines(&format!("{text}{EXAMPLE}")), Vec::<usize>::new());
        assert_eq!(lines(&format!("## A\n### B\n{EXAMPLE}")), Vec::<usize>::new());
    }

    #[test]
    fn other_beginnings_are_reported_with_their_lines() {
        assert_eq!(lines(&format!("# A\n\nText.\n\n## B\n{EXAMPLE}")), [1]);
        assert_eq!(lines("# A\n\n## B\n"), [3]);
        assert_eq!(lines(&format!("## A\nOne. Two.\n{EXAMPLE}")), [1]);
        assert_eq!(lines(&format!("## A\n| a | b |\n|---|---|\n{EXAMPLE}")), [1]);
        assert_eq!(lines(&format!("## A\n- a\n- b\n{EXAMPLE}")), [1]);
        assert_eq!(lines(&format!("## A\n{}\n{EXAMPLE}", "word ".repeat(LONGEST + 1))), [1]);
    }

    #[test]
    fn exceptions_are_of_the_manual_and_are_needed() {
        let document =
            |name: &str, text: &str| Document { name: name.to_owned(), text: text.to_owned() };
        let documents = [
            document("docs/a.md", "## Links\nText.\n## Text\nText.\n"),
            document("docs/decisions/b.md", "## Text\nText.\n"),
            document("README.md", "## Text\nText.\n"),
        ];
        let exceptions = [("docs/a.md", "## Links", "links"), ("docs/a.md", "## Gone", "links")];
        assert_eq!(
            without_example(&documents, &exceptions),
            [
                "docs/a.md:3: \"## Text\" does not begin with an example; at most one sentence of \
                 24 words may be before its first fenced block",
                "docs/a.md: \"## Gone\" needs no exception; remove it from \
                 xtask/src/docs/examples.rs",
            ]
        );
    }
}
