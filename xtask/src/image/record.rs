//! What the last image is, for runs that take it as it is: a record beside it, written last.

use super::full::Full;
use crate::drivers::Drivers;
use crate::sum::Sum;
use crate::{durable, paths, sh};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image that was written completely.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// A hash over all that it is made of.
    pub(crate) stamp: String,
    /// Is it packed densely, without the hooks of the stories?
    pub(crate) release: bool,
    /// None if there was no git.
    pub(crate) checkout: Option<Checkout>,
    /// Seconds since 1970: the time of all its files.
    pub(crate) epoch: u64,
    /// The key of the Docker that was built for it.
    pub(crate) engine: Option<String>,
    pub(super) iso: Sum,
    pub(super) archive: Sum,
    /// What `--full` added.
    #[serde(default)]
    pub(super) full: Option<FullRecord>,
}

/// The full ISO, and the key of the drivers in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FullRecord {
    drivers: String,
    iso: Sum,
}

impl FullRecord {
    /// `drivers` are those of the cache, of which the image has copies.
    pub(super) fn of(full: &Full, drivers: &Drivers) -> Result<FullRecord> {
        Ok(FullRecord { drivers: drivers.key(), iso: Sum::of(&full.iso)? })
    }
}

/// The sources that something was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkout {
    pub(crate) commit: String,
    /// Did the files differ from it?
    pub(crate) is_changed: bool,
}

impl Checkout {
    /// As it is now.
    pub(crate) fn now() -> Result<Checkout> {
        Ok(Checkout {
            commit: commit()?,
            is_changed: !git(&["status", "--porcelain"])?.trim().is_empty(),
        })
    }
}

/// The last commit.
pub(super) fn commit() -> Result<String> {
    Ok(git(&["rev-parse", "HEAD"]).context("finding the commit")?.trim().to_owned())
}

fn git(arguments: &[&str]) -> Result<String> {
    sh::output(Command::new("git").current_dir(paths::root()).args(arguments))
}

impl Record {
    pub(crate) fn load() -> Result<Record> {
        let file = file();
        let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("reading {}", file.display()))
    }

    /// The same image, which the checkout as it is now would be as well.
    pub(super) fn of_this_checkout(self) -> Record {
        Record { checkout: Checkout::now().ok(), ..self }
    }

    pub(super) fn write(&self) -> Result<()> {
        durable::write(&file(), &serde_json::to_vec_pretty(self)?)
    }

    /// The key of its drivers; empty if it has none.
    pub(crate) fn drivers(&self) -> &str {
        self.full.as_ref().map_or("", |full| full.drivers.as_str())
    }

    /// Has it these drivers?
    pub(super) fn has(&self, drivers: &Drivers) -> bool {
        self.full.as_ref().is_some_and(|full| full.drivers == drivers.key())
    }

    /// Before the image is replaced.
    pub(super) fn remove() {
        let _ = fs::remove_file(file());
    }

    /// Checks the files that no signature is of.
    pub(crate) fn check(&self, iso: &Path, archive: &Path, full: Option<&Full>) -> Result<()> {
        let full = self.full.as_ref().zip(full);
        let full = full.map(|(record, full)| (&record.iso, full.iso.as_path()));
        let plain = [(&self.iso, iso), (&self.archive, archive)];
        for (sum, path) in plain.into_iter().chain(full) {
            ensure!(
                sum.is_of(path),
                "{} is not what the last build wrote: remove it, and build the image again",
                path.display()
            );
        }
        Ok(())
    }
}

fn file() -> PathBuf {
    paths::cache("image.json")
}
