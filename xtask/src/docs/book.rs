//! The manual as a book: mdBook makes HTML of the pages, with a search and a page to print. The
//! pages are collected below `target/`, at the same paths as in the checkout, so that their links
//! lead to the same places; what they link to besides pages is copied too.

use super::documents::{self, COMMANDS, Document};
use super::{links, summary};
use crate::cargo_tools::Tool;
use crate::{binaries, paths, progress, sh};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Without its server, which most of its dependencies are for.
const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    features: &["--no-default-features", "--features", "search"],
};
/// Its settings.
const SETTINGS: &str = "docs/book.toml";

/// Builds the book; replaces an earlier one.
pub(crate) fn write(output: &Path) -> Result<()> {
    let mdbook = MDBOOK.install()?;
    let work = paths::cache("book");
    let _ = fs::remove_dir_all(&work);
    let pages = collect(&work)?;
    let made = work.join("made");
    let mut command = Command::new(mdbook);
    command.arg("build").arg("--dest-dir").arg(&made).arg(&work);
    progress::step("building the book", || sh::output(&mut command))
        .context("building the book")?;
    check(&made, &pages)?;
    let _ = fs::remove_dir_all(output);
    fs::rename(&made, output).with_context(|| format!("keeping {}", output.display()))
}

/// A hash over what the book is made of, but for the commands of `ros`.
pub(crate) fn inputs() -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{MDBOOK:?}"));
    for (name, text) in sources()? {
        hash.update(format!("{name} {} ", text.len()));
        hash.update(text);
    }
    Ok(hex::encode(hash.finalize()))
}

/// The files of the checkout that the book has, by their paths in it.
fn sources() -> Result<BTreeMap<String, Vec<u8>>> {
    let text = documents::summary()?;
    let pages = summary::pages(&text);
    let documents = documents::load()?;
    let mut sources = BTreeMap::new();
    for document in documents.into_iter().filter(|document| pages.contains(&document.name)) {
        for link in links::links(&document.text) {
            let target = link.target.split('#').next().unwrap_or_default();
            let name = links::resolve(&document.name, target);
            let file = paths::root().join(&name);
            if !target.is_empty() && file.is_file() && !name.ends_with(".md") {
                sources.insert(name, read(&file)?);
            }
        }
        sources.insert(document.name, document.text.into_bytes());
    }
    sources.insert("SUMMARY.md".to_owned(), summary::from_root(&text).into_bytes());
    sources.insert(SETTINGS.to_owned(), read(&paths::root().join(SETTINGS))?);
    Ok(sources)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// Puts settings and pages where mdBook looks for them; returns the pages.
fn collect(work: &Path) -> Result<Vec<String>> {
    let mut sources = sources()?;
    let settings = sources.remove(SETTINGS).context("there are no settings")?;
    let commands = commands(work)?;
    check_links(&commands)?;
    sources.insert(COMMANDS.to_owned(), commands.into_bytes());
    for (name, text) in sources.iter().map(|(name, text)| (format!("src/{name}"), text)) {
        put(&work.join(name), text)?;
    }
    put(&work.join("book.toml"), &settings)?;
    Ok(sources.into_keys().filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect())
}

/// The page of the commands of `ros`.
fn commands(work: &Path) -> Result<String> {
    let folder = work.join("ros");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    sh::run(&mut binaries::manual(&folder)).context("writing the page of the commands")?;
    let file = folder.join("ros.md");
    fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

/// Checks all links again, with those to headings of the page of the commands, and its own.
fn check_links(commands: &str) -> Result<()> {
    let mut documents = documents::load()?;
    documents.push(Document { name: COMMANDS.to_owned(), text: commands.to_owned() });
    let found = links::problems(&documents, &summary::pages(&documents::summary()?));
    ensure!(found.is_empty(), "the manual has wrong links:\n  {}", found.join("\n  "));
    Ok(())
}

fn put(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
}

/// Fails unless the book has each page, and the one to print.
fn check(made: &Path, pages: &[String]) -> Result<()> {
    let pages = pages.iter().map(|page| html(page));
    for page in pages.chain([PathBuf::from("print.html")]) {
        ensure!(made.join(&page).is_file(), "mdBook has not written {}", page.display());
    }
    Ok(())
}

/// A page in the book. That of a folder is its index.
fn html(page: &str) -> PathBuf {
    let path = Path::new(page);
    let is_index = path.file_stem().is_some_and(|stem| stem == "README");
    if is_index { path.with_file_name("index.html") } else { path.with_extension("html") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_has_the_pages_and_what_they_link_to() {
        let sources = sources().unwrap();
        for name in ["README.md", "docs/installing.md", "keys/allowed_signers", "LICENSE"] {
            assert!(sources.contains_key(name), "{name}");
        }
        let summary = String::from_utf8(sources["SUMMARY.md"].clone()).unwrap();
        assert!(summary.contains("(docs/installing.md)"), "{summary}");
    }

    #[test]
    fn a_page_of_a_folder_is_its_index() {
        assert_eq!(html("docs/console.md"), Path::new("docs/console.html"));
        assert_eq!(html("docs/decisions/README.md"), Path::new("docs/decisions/index.html"));
    }
}
