//! `docs/SUMMARY.md`: which pages the book has, and in which order. Its links are relative to
//! itself, so that a forge shows them; mdBook reads a copy at the root of the pages.

use super::documents::{Document, GENERATED, SUMMARY};
use super::links;
use std::collections::BTreeSet;

/// The pages in their order, by their paths from the root of the checkout.
pub(super) fn pages(text: &str) -> Vec<String> {
    links::links(text).iter().map(|link| links::resolve(SUMMARY, &link.target)).collect()
}

/// The text with links from the root of the checkout.
pub(super) fn from_root(text: &str) -> String {
    let mut moved = text.to_owned();
    for link in links::links(text) {
        let from = format!("]({})", link.target);
        moved = moved.replace(&from, &format!("]({})", links::resolve(SUMMARY, &link.target)));
    }
    moved
}

/// Pages that it lacks, names twice, or names although they do not exist.
pub(super) fn problems(documents: &[Document], pages: &[String]) -> Vec<String> {
    let mut named = BTreeSet::new();
    let twice = pages.iter().filter(|page| !named.insert(page.as_str()));
    let mut found: Vec<String> =
        twice.map(|page| format!("{SUMMARY}: {page} is in it twice")).collect();
    let exists = |page: &&&str| {
        GENERATED.contains(page) || documents.iter().any(|document| document.name == ***page)
    };
    let missing = named.iter().filter(|page| !exists(page));
    found.extend(missing.map(|page| format!("{SUMMARY}: there is no page {page}")));
    let is_left_out =
        |name: &&str| name.starts_with("docs/") && *name != SUMMARY && !named.contains(name);
    let names = documents.iter().map(|document| document.name.as_str());
    found.extend(names.filter(is_left_out).map(|name| format!("{SUMMARY}: it lacks {name}")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# Summary\n\n[Corral](../README.md)\n\n# Use\n\n- [A](a.md)\n  - [B](b.md)\n";

    #[test]
    fn pages_have_their_paths_from_the_root() {
        assert_eq!(pages(TEXT), ["README.md", "docs/a.md", "docs/b.md"]);
        let moved = from_root(TEXT);
        assert!(moved.contains("[Corral](README.md)") && moved.contains("  - [B](docs/b.md)"));
    }

    #[test]
    fn each_page_is_in_it_once() {
        let names = ["README.md", "docs/a.md", "docs/c.md", SUMMARY, "CONTRIBUTING.md"];
        let documents = names.map(|name| Document { name: name.to_owned(), text: String::new() });
        let twice = format!("{TEXT}- [A](a.md)\n");
        assert_eq!(
            problems(&documents, &pages(&twice)),
            [
                "docs/SUMMARY.md: docs/a.md is in it twice",
                "docs/SUMMARY.md: there is no page docs/b.md",
                "docs/SUMMARY.md: it lacks docs/c.md",
            ]
        );
    }
}
