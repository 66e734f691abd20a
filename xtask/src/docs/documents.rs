//! The documents of the checkout: those at its root, and the manual.

use crate::{paths, tree};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Which pages the book has, and in which order.
pub(super) const SUMMARY: &str = "docs/SUMMARY.md";
/// The page of all commands of `ros`, from the definition of its command line.
pub(super) const COMMANDS: &str = "docs/ros.md";
/// Pages that only the book has.
pub(super) const GENERATED: [&str; 1] = [COMMANDS];

/// A document.
#[derive(Debug)]
pub(super) struct Document {
    /// Its path from the root of the checkout: `docs/console.md`.
    pub(super) name: String,
    pub(super) text: String,
}

/// Their files.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let at_root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let mut files: Vec<PathBuf> = at_root.iter().map(|name| paths::root().join(name)).collect();
    let folder = paths::root().join("docs");
    let below = tree::read_folder(&folder)?.into_iter().map(|(name, _)| folder.join(name));
    files.extend(below.filter(|file| file.extension().is_some_and(|found| found == "md")));
    Ok(files)
}

/// The text of the list of pages.
pub(super) fn summary() -> Result<String> {
    fs::read_to_string(paths::root().join(SUMMARY)).with_context(|| format!("reading {SUMMARY}"))
}

/// All of them.
pub(super) fn load() -> Result<Vec<Document>> {
    let load = |file: PathBuf| -> Result<Document> {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(Document { name: name(&file), text })
    };
    files()?.into_iter().map(load).collect()
}

fn name(file: &Path) -> String {
    file.strip_prefix(paths::root()).unwrap_or(file).display().to_string()
}
