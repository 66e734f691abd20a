//! `cargo xtask docs`: writes the tables that come from the code into the pages of the manual, and
//! builds the pages as a book. `tidy` checks what can be checked without building it.

pub(crate) mod book;
mod changelog;
pub(crate) mod documents;
mod examples;
mod links;
mod summary;
mod tables;

use crate::{paths, sh};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::process::Command;
use vmtest::pictures;

/// Without a flag, everything is written.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Options {
    /// Write the tables only: no network and no other program is needed
    #[arg(long)]
    tables: bool,
    /// Take the pictures of the screen again, by a story that boots the ISO, and write nothing else
    #[arg(long)]
    pictures: bool,
    /// Write nothing; report outdated tables, links without a target, and pages that are missing
    #[arg(long)]
    check: bool,
}

/// Writes, or checks.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.check {
        let found = problems()?;
        if found.is_empty() {
            return Ok(());
        }
        bail!("the manual has {} problems:\n  {}", found.len(), found.join("\n  "))
    }
    if options.pictures {
        return take_pictures();
    }
    tables::write()?;
    if options.tables { Ok(()) } else { book::write(&paths::target().join("book")) }
}

/// The story of that name takes them, as a test that writes instead of comparing.
fn take_pictures() -> Result<()> {
    let folder = paths::root().join(pictures::IN_MANUAL);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut test = Command::new(std::env::current_exe().context("finding xtask")?);
    test.current_dir(paths::root()).env(paths::TARGET_VARIABLE, paths::target());
    test.args(["test", "--story", "pictures"]).env(pictures::FOLDER_VARIABLE, folder);
    sh::run(&mut test)
}

/// What is wrong with the pages, their order, their links and their examples, and with the
/// changelog.
pub(crate) fn problems() -> Result<Vec<String>> {
    let documents = documents::load()?;
    let pages = summary::pages(&documents::summary()?);
    let outdated = tables::outdated()?
        .into_iter()
        .map(|page| format!("{page}: its table is not the code's; run cargo xtask docs --tables"));
    let mut found: Vec<String> = outdated.collect();
    found.extend(summary::problems(&documents, &pages));
    found.extend(links::problems(&documents, &pages));
    found.extend(examples::problems(&documents));
    found.extend(changelog::problems(&documents));
    Ok(found)
}
