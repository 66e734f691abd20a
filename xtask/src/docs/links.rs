//! Links of documents: each leads to a file of the checkout, to a heading that is there, and, from
//! a page of the book, to what the book has.

use super::documents::{Document, GENERATED, SUMMARY};
use crate::paths;
use std::collections::BTreeSet;
use std::path::Path;

/// A link that leads into the checkout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) line: usize,
    /// As it is written: `console.md#tools`.
    pub(super) target: String,
}

/// What is wrong with the links of all documents. `pages` are those of the book.
pub(super) fn problems(documents: &[Document], pages: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents.iter().filter(|document| document.name != SUMMARY) {
        for link in links(&document.text) {
            if let Some(problem) = problem(document, &link, documents, pages) {
                let Link { line, target } = link;
                found.push(format!("{}:{line}: the link {target} {problem}", document.name));
            }
        }
    }
    found
}

fn problem(
    from: &Document,
    link: &Link,
    documents: &[Document],
    pages: &[String],
) -> Option<&'static str> {
    let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
    let name = if file.is_empty() { from.name.clone() } else { resolve(&from.name, file) };
    let is_loaded = documents.iter().any(|document| document.name == name);
    // Its headings are known only when it has been generated, for the book.
    if GENERATED.contains(&name.as_str()) && !is_loaded {
        return None;
    }
    let path = paths::root().join(&name);
    if !is_loaded && !path.exists() {
        return Some("leads nowhere");
    }
    // A server of files, and the book, show this page of a folder.
    let name = if path.is_dir() { format!("{name}/README.md") } else { name };
    let document = documents.iter().find(|document| document.name == name);
    if path.is_dir() && document.is_none() {
        return Some("leads to a folder without a README.md");
    }
    let is_page = |name: &String| pages.contains(name);
    if is_page(&from.name) && document.is_some() && !is_page(&name) {
        return Some("leads to a page that docs/SUMMARY.md does not have");
    }
    let has_anchor = |document: &Document| anchors(&document.text).contains(anchor);
    if !anchor.is_empty() && !document.is_some_and(has_anchor) {
        return Some("leads to a heading that is not there");
    }
    None
}

/// The path from the root of the checkout of what a document links to.
pub(super) fn resolve(document: &str, target: &str) -> String {
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let mut parts: Vec<String> = Vec::new();
    for part in folder.join(target).components() {
        match part.as_os_str().to_string_lossy().as_ref() {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part.to_owned()),
        }
    }
    parts.join("/")
}

/// The links of a document that lead into the checkout, without those in code.
pub(super) fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, prose) in (1..).zip(without_code(text).lines()) {
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") && !target.starts_with("mailto:") {
                links.push(Link { line, target: target.to_owned() });
            }
        }
    }
    links
}

/// The anchors of the headings, as forges and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in without_fences(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor = anchor(title.trim());
        // The second heading with a name is `name-1`.
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(numbered);
        if let Some(free) = names.find(|name| !anchors.contains(name)) {
            anchors.insert(free);
        }
    }
    anchors
}

fn anchor(title: &str) -> String {
    // Of a link only its text.
    let mut shown = String::new();
    for (number, part) in title.split("](").enumerate() {
        let rest =
            if number == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
        shown.push_str(rest);
    }
    let letter = |letter: char| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter.is_alphanumeric().then_some(letter),
    };
    shown.to_lowercase().chars().filter_map(letter).collect()
}

/// The lines, those of fenced blocks empty.
pub(super) fn without_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().map(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence { "" } else { line }
    })
}

/// The text with as many lines, without code. Code in a line may go over its end, but not over that
/// of its paragraph.
fn without_code(text: &str) -> String {
    let mut prose = String::new();
    let mut is_code = false;
    for line in without_fences(text) {
        if line.trim().is_empty() {
            is_code = false;
        }
        for (number, part) in line.split('`').enumerate() {
            is_code ^= number > 0;
            if !is_code {
                prose.push_str(part);
            }
        }
        prose.push('\n');
    }
    prose
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, text: &str) -> Document {
        Document { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn links_in_code_are_none() {
        let text = "[a](a.md), [`b`](b.md#c) `[x](no.md)`\n```\n[y](no.md)\n```\n\
                    a `code over\ntwo lines` [c](#d) [w](https://e.example/x)\n";
        let link = |line, target: &str| Link { line, target: target.to_owned() };
        assert_eq!(links(text), [link(1, "a.md"), link(1, "b.md#c"), link(6, "#d")]);
    }

    #[test]
    fn headings_have_the_anchors_of_forges() {
        let text = "# Docker: compose, `ros`\n## A [link](x.md) here\n```\n# no\n```\n## Twice\n\
                    ### Twice\n#no\n";
        let found: Vec<String> = anchors(text).into_iter().collect();
        assert_eq!(found, ["a-link-here", "docker-compose-ros", "twice", "twice-1"]);
    }

    #[test]
    fn a_link_without_a_target_is_reported_with_its_line() {
        let pages = ["README.md", "docs/installing.md"].map(str::to_owned);
        let text = "# Title\n\n[a](docs/installing.md#here) [b](docs/no.md) [c](#title)\n\
                    [d](docs/installing.md#gone) [e](CONTRIBUTING.md) [f](LICENSE) [g](xtask)\n";
        let documents = [
            document("README.md", text),
            document("docs/installing.md", "## Here\n[up](../README.md#title)\n"),
            document("CONTRIBUTING.md", "[z](docs/console.md)\n"),
        ];
        assert_eq!(
            problems(&documents, &pages),
            [
                "README.md:3: the link docs/no.md leads nowhere",
                "README.md:4: the link docs/installing.md#gone leads to a heading that is not \
                 there",
                "README.md:4: the link CONTRIBUTING.md leads to a page that docs/SUMMARY.md does \
                 not have",
                "README.md:4: the link xtask leads to a folder without a README.md",
            ]
        );
    }

    #[test]
    fn headings_of_a_generated_page_are_checked_once_it_is_there() {
        let pages = ["README.md", "docs/ros.md"].map(str::to_owned);
        let mut documents =
            vec![document("README.md", "[a](docs/ros.md#ros-why) [b](docs/ros.md#gone)\n")];
        assert_eq!(problems(&documents, &pages), Vec::<String>::new());
        documents.push(document("docs/ros.md", "## ros why\n[c](../README.md)\n"));
        assert_eq!(
            problems(&documents, &pages),
            ["README.md:1: the link docs/ros.md#gone leads to a heading that is not there"]
        );
    }

    #[test]
    fn paths_are_relative_to_their_document() {
        assert_eq!(resolve("docs/a.md", "b.md"), "docs/b.md");
        assert_eq!(resolve("docs/decisions/a.md", "../../README.md"), "README.md");
        assert_eq!(resolve("README.md", "docs/decisions/"), "docs/decisions");
    }
}
