//! Changes that are rolled back unless their owner confirms them in time, even across a reboot or a
//! power cut.
//!
//! `confirm/previous.yml` is the store before the change; `confirm/pending.json` marks that it
//! waits. The order of writing is safe at any moment: previous, pending, then the change itself.
//! Rolling back: the store, then pending. This module decides what to write; `apply` writes it, and
//! removes `previous.yml` when no change waits.

use super::file_change::FileChange;
use super::layers::{last_good, stored_file};
use super::problem;
use super::root::Root;
use anyhow::{Context, Result};
use corral_config::error::Problem;
use corral_init::boot::state::CONF;
use corral_plan::resolved::Unconfirmed;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const NOTING: &str = "noting that a change waits to be confirmed";
const ROLLING_BACK: &str = "rolling back an unconfirmed change";

/// A change that waits for its confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Of this change: a timer that was set for one rolls no other back.
    #[serde(default)]
    pub(crate) id: String,
    /// Seconds from the change, or from the boot after it.
    pub within: u64,
    /// The boot in which it was made, then the one after it.
    pub(crate) boot_id: String,
    /// The machine has rebooted since the change.
    pub restarted: bool,
    /// When its time began, in seconds since that boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began: Option<u64>,
}

/// The outcome of a change that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// None waits.
    None,
    /// It was made in this boot, or is already marked with this boot: its time runs.
    Waits(Unconfirmed),
    /// This is the first boot after it. It gets its time again, so that its owner can log in and
    /// confirm.
    WaitsAgain { change: Unconfirmed, note: FileChange },
    /// This is the second boot after it: it is rolled back at once.
    RolledBack(Vec<FileChange>),
    /// It cannot be decided, for this reason.
    Unknown(String),
}

/// What that means for this boot.
#[derive(Debug, Default, PartialEq)]
pub(super) struct AtBoot {
    pub(super) unconfirmed: Option<Unconfirmed>,
    pub(super) problem: Option<Problem>,
}

fn folder() -> PathBuf {
    Path::new(CONF).join("confirm")
}

impl Pending {
    fn file() -> PathBuf {
        folder().join("pending.json")
    }

    /// The change that waits now.
    pub fn load(root: &Root) -> Option<Pending> {
        serde_json::from_slice(&root.read(Pending::file()).ok()?).ok()
    }

    /// What is left of its time. Not known in another boot than the one in which it began: that it
    /// begins again could not be noted then.
    pub fn seconds_left(&self, root: &Root) -> Option<u64> {
        let began = self.began.filter(|_| self.boot_id == root.boot_id())?;
        let passed = root.uptime()?.saturating_sub(began);
        Some(self.within.saturating_sub(passed))
    }

    fn note(&self) -> Result<FileChange> {
        Ok(FileChange::write(Pending::file(), serde_json::to_vec(self)?, 0o600))
    }
}

/// An error if a change waits: rolling it back would undo every change after it as well.
pub(super) fn ensure_none_waits(root: &Root) -> Result<()> {
    if Pending::load(root).is_some() {
        anyhow::bail!(
            "another change waits to be confirmed: ros config confirm, or wait until it is rolled \
             back; nothing was changed"
        );
    }
    Ok(())
}

/// The content of the store before the change that waits. None if no change waits.
pub(super) fn previous(root: &Root) -> Result<Option<String>> {
    if Pending::load(root).is_none() {
        return Ok(None);
    }
    let bytes = root.read(previous_file()).context("reading what was before")?;
    String::from_utf8(bytes).map(Some).context("what was before is no text")
}

pub(super) fn previous_file() -> PathBuf {
    folder().join("previous.yml")
}

/// What to write before the store is changed: its current content, then the mark that a change
/// waits.
pub(super) fn prepare(root: &Root, change: Unconfirmed) -> Result<[FileChange; 2]> {
    ensure_none_waits(root)?;
    let store = stored_file();
    let now = match root.read(&store) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", store.display())),
    };
    let previous = FileChange::write(previous_file(), now, 0o600);
    let Unconfirmed { id, within } = change;
    let began = root.uptime();
    let pending = Pending { id, within, boot_id: root.boot_id(), restarted: false, began };
    Ok([previous, pending.note()?])
}

/// The change that confirms. None if no change waits.
pub(super) fn confirm(root: &Root) -> Option<FileChange> {
    Pending::load(root).map(|_| FileChange::remove(Pending::file()))
}

/// What is of no use if no change waits: what was before it, with its secrets.
pub(super) fn leftover(root: &Root) -> Option<FileChange> {
    // A mark that is there but cannot be read now may be that of a change that waits.
    let error = root.metadata_error(Pending::file())?;
    let is_left = error.kind() == ErrorKind::NotFound && root.exists(previous_file());
    is_left.then(|| FileChange::remove(previous_file()))
}

/// The changes that restore the store. Empty if that change does not wait any more: it was
/// confirmed, and the one that waits now is a later one.
pub(super) fn roll_back(root: &Root, id: &str) -> Result<Vec<FileChange>> {
    if Pending::load(root).is_none_or(|pending| pending.id != id) {
        return Ok(Vec::new());
    }
    let previous = root.read(previous_file()).context("reading what was before")?;
    let store = stored_file();
    let mut changes = Vec::new();
    if previous.is_empty() {
        // There was no store. An empty file would look like one that lost its content, and its last
        // good copy is the change.
        let copy = last_good(&store);
        changes.extend([Some(store), copy].into_iter().flatten().map(FileChange::remove));
    } else {
        changes.push(FileChange::write(store, previous, 0o600));
    }
    changes.push(FileChange::remove(Pending::file()));
    Ok(changes)
}

/// The outcome of a waiting change in this boot.
pub(super) fn decide(root: &Root) -> Fate {
    let Some(pending) = Pending::load(root) else { return Fate::None };
    let boot_id = root.boot_id();
    let change = Unconfirmed { id: pending.id.clone(), within: pending.within };
    if pending.boot_id == boot_id {
        return Fate::Waits(change);
    }
    let decided = if pending.restarted {
        roll_back(root, &change.id).map(Fate::RolledBack).context(ROLLING_BACK)
    } else {
        let note = Pending { boot_id, restarted: true, began: root.uptime(), ..pending }.note();
        note.map(|note| Fate::WaitsAgain { change, note }).context(NOTING)
    };
    decided.unwrap_or_else(|error| Fate::Unknown(format!("{error:#}")))
}

impl Fate {
    /// What has to be written for it, in this order.
    pub(super) fn changes(&self) -> &[FileChange] {
        match self {
            Fate::WaitsAgain { note, .. } => std::slice::from_ref(note),
            Fate::RolledBack(changes) => changes,
            Fate::None | Fate::Waits(_) | Fate::Unknown(_) => &[],
        }
    }

    /// The result once that was written.
    pub(super) fn at_boot(&self) -> AtBoot {
        match self {
            Fate::None => AtBoot::default(),
            Fate::Waits(change) | Fate::WaitsAgain { change, .. } => {
                AtBoot { unconfirmed: Some(change.clone()), problem: None }
            }
            Fate::RolledBack(_) => AtBoot::report("an unconfirmed change was rolled back"),
            Fate::Unknown(reason) => AtBoot::report(reason),
        }
    }

    /// The result if that could not be written.
    pub(super) fn at_boot_unwritten(&self, error: &anyhow::Error) -> AtBoot {
        let what = if matches!(self, Fate::WaitsAgain { .. }) { NOTING } else { ROLLING_BACK };
        AtBoot::report(&format!("{what}: {error:#}"))
    }
}

impl AtBoot {
    fn report(text: &str) -> AtBoot {
        AtBoot { unconfirmed: None, problem: Some(problem::error("confirm", text)) }
    }
}
