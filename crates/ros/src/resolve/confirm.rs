//! Changes that are rolled back unless their owner confirms them in time: over a reboot and over a
//! cut of power.
//!
//! `confirm/previous.yml` is the store before the change, `confirm/pending.json` says that it
//! waits. The order of writing makes every instant safe: previous, pending, then the change itself;
//! and back: the store, then pending. What is to be written is decided here; `apply` writes it.

use super::file_change::FileChange;
use super::layers::{last_good, stored_file};
use super::problem;
use super::root::Root;
use anyhow::{Context, Result};
use corral_config::error::Problem;
use corral_init::boot::state::CONF;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const NOTING: &str = "noting that a change waits to be confirmed";
const ROLLING_BACK: &str = "taking an unconfirmed change back";

/// A change that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// Seconds from the change, or from the boot after it.
    pub(crate) within: u64,
    /// The boot in which it was made, then the one after it.
    pub(crate) boot_id: String,
    /// The machine was started again since the change.
    pub(crate) restarted: bool,
}

/// What becomes of a change that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// None waits.
    None,
    /// It was made in this boot, or this boot is noted in it: its time runs.
    Waits { within: u64 },
    /// This is the first boot after it: it has its time once more, so that its owner can log in
    /// and confirm.
    WaitsAgain { within: u64, note: FileChange },
    /// This is the second one: it is rolled back at once.
    RolledBack(Vec<FileChange>),
    /// What should be done cannot be decided, and why.
    Unknown(String),
}

/// What that means for this boot.
#[derive(Debug, Default, PartialEq)]
pub(super) struct AtBoot {
    pub(super) confirm_within: Option<u64>,
    pub(super) problem: Option<Problem>,
}

fn folder() -> PathBuf {
    Path::new(CONF).join("confirm")
}

fn boot_id(root: &Root) -> String {
    root.text("/proc/sys/kernel/random/boot_id").trim().to_owned()
}

impl Pending {
    fn file() -> PathBuf {
        folder().join("pending.json")
    }

    /// The change that waits now.
    pub(crate) fn load(root: &Root) -> Option<Pending> {
        serde_json::from_slice(&root.read(Pending::file()).ok()?).ok()
    }

    fn note(&self) -> Result<FileChange> {
        Ok(FileChange::write(Pending::file(), serde_json::to_vec(self)?, 0o600))
    }
}

/// What is to be written before the store is changed: what it is now, then that a change waits.
pub(super) fn prepare(root: &Root, within: u64) -> Result<[FileChange; 2]> {
    if Pending::load(root).is_some() {
        anyhow::bail!(
            "another change waits to be confirmed: ros config confirm, or wait until it is taken back"
        );
    }
    let store = stored_file();
    let now = match root.read(&store) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", store.display())),
    };
    let previous = FileChange::write(folder().join("previous.yml"), now, 0o600);
    let pending = Pending { within, boot_id: boot_id(root), restarted: false };
    Ok([previous, pending.note()?])
}

/// What makes a change stay. None if no change waits.
pub(super) fn confirm(root: &Root) -> Option<FileChange> {
    Pending::load(root).map(|_| FileChange::remove(Pending::file()))
}

/// What makes the store what it was. Nothing if no change waits.
pub(super) fn roll_back(root: &Root) -> Result<Vec<FileChange>> {
    if Pending::load(root).is_none() {
        return Ok(Vec::new());
    }
    let previous = root.read(folder().join("previous.yml")).context("reading what was before")?;
    let store = stored_file();
    let mut changes = Vec::new();
    if previous.is_empty() {
        // There was none. An empty one would look like one that lost its content, whose last good
        // copy is the change.
        let copy = last_good(&store);
        changes.extend([Some(store), copy].into_iter().flatten().map(FileChange::remove));
    } else {
        changes.push(FileChange::write(store, previous, 0o600));
    }
    changes.push(FileChange::remove(Pending::file()));
    Ok(changes)
}

/// What becomes of the change that waits, in this boot.
pub(super) fn decide(root: &Root) -> Fate {
    let Some(pending) = Pending::load(root) else { return Fate::None };
    let (boot_id, within) = (boot_id(root), pending.within);
    if pending.boot_id == boot_id {
        return Fate::Waits { within };
    }
    let decided = if pending.restarted {
        roll_back(root).map(Fate::RolledBack).context(ROLLING_BACK)
    } else {
        let note = Pending { boot_id, restarted: true, ..pending }.note();
        note.map(|note| Fate::WaitsAgain { within, note }).context(NOTING)
    };
    decided.unwrap_or_else(|error| Fate::Unknown(format!("{error:#}")))
}

impl Fate {
    /// What is to be written for it, in this order.
    pub(super) fn changes(&self) -> &[FileChange] {
        match self {
            Fate::WaitsAgain { note, .. } => std::slice::from_ref(note),
            Fate::RolledBack(changes) => changes,
            Fate::None | Fate::Waits { .. } | Fate::Unknown(_) => &[],
        }
    }

    /// What it means once that was written.
    pub(super) fn at_boot(&self) -> AtBoot {
        match self {
            Fate::None => AtBoot::default(),
            Fate::Waits { within } | Fate::WaitsAgain { within, .. } => {
                AtBoot { confirm_within: Some(*within), problem: None }
            }
            Fate::RolledBack(_) => AtBoot::report("a change that nobody confirmed was taken back"),
            Fate::Unknown(reason) => AtBoot::report(reason),
        }
    }

    /// What it means if that could not be written.
    pub(super) fn at_boot_unwritten(&self, error: &anyhow::Error) -> AtBoot {
        let what = if matches!(self, Fate::WaitsAgain { .. }) { NOTING } else { ROLLING_BACK };
        AtBoot::report(&format!("{what}: {error:#}"))
    }
}

impl AtBoot {
    fn report(text: &str) -> AtBoot {
        AtBoot { confirm_within: None, problem: Some(problem::error("confirm", text)) }
    }
}
