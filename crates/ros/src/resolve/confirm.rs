//! Changes that are taken back unless somebody confirms them in time: over a reboot and over a cut of power.
//!
//! `confirm/previous.yml` is the store before the change, `confirm/pending.json` says that it waits. The order of
//! writing makes every instant safe: previous, pending, then the change itself; and back: the store, then pending.

use super::layers::last_good;
use super::problem;
use anyhow::{Context, Result};
use corral_config::error::Problem;
use corral_init::boot::state::CONF;
use corral_machine::files::{remove_durably, write_atomic};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

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

/// What a boot finds.
#[derive(Debug, Default)]
pub(super) struct AtBoot {
    pub(super) confirm_within: Option<u64>,
    pub(super) problem: Option<Problem>,
}

fn folder() -> PathBuf {
    Path::new(CONF).join("confirm")
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl Pending {
    /// The change that waits now.
    pub(crate) fn load() -> Option<Pending> {
        serde_json::from_slice(&fs::read(folder().join("pending.json")).ok()?).ok()
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec(self)?;
        write_atomic(&folder().join("pending.json"), &text, 0o600)
    }
}

/// Notes what `store` is now, before it is changed.
pub(crate) fn prepare(store: &Path, within: u64) -> Result<()> {
    if Pending::load().is_some() {
        anyhow::bail!(
            "another change waits to be confirmed: ros config confirm, or wait until it is taken back"
        );
    }
    let now = match fs::read(store) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", store.display())),
    };
    write_atomic(&folder().join("previous.yml"), &now, 0o600)?;
    Pending { within, boot_id: boot_id(), restarted: false }.save()
}

/// The change stays. False if none waits.
pub(crate) fn confirm() -> Result<bool> {
    if Pending::load().is_none() {
        return Ok(false);
    }
    remove_durably(&folder().join("pending.json"))?;
    Ok(true)
}

/// Puts the store back as it was.
pub(super) fn take_back() -> Result<()> {
    if Pending::load().is_none() {
        return Ok(());
    }
    let previous = fs::read(folder().join("previous.yml")).context("reading what was before")?;
    let store = Path::new(CONF).join("cloud-config.yml");
    if previous.is_empty() {
        // There was none. An empty one would look like one that lost its content, whose last good copy is the change.
        for file in [Some(store.clone()), last_good(&store)].into_iter().flatten() {
            remove_durably(&file)?;
        }
    } else {
        write_atomic(&store, &previous, 0o600)?;
    }
    remove_durably(&folder().join("pending.json"))
}

/// In the first boot after the change it has its time once more, so that somebody can log in and confirm; in the second
/// one it is taken back at once.
pub(super) fn at_boot() -> AtBoot {
    let Some(pending) = Pending::load() else { return AtBoot::default() };
    let told =
        |text: String| AtBoot { confirm_within: None, problem: Some(problem::error("confirm", &text)) };
    if pending.boot_id == boot_id() {
        return AtBoot { confirm_within: Some(pending.within), problem: None };
    }
    if pending.restarted {
        return match take_back() {
            Ok(()) => told("a change that nobody confirmed was taken back".to_owned()),
            Err(error) => told(format!("taking an unconfirmed change back: {error:#}")),
        };
    }
    let next = Pending { boot_id: boot_id(), restarted: true, ..pending };
    match next.save() {
        Ok(()) => AtBoot { confirm_within: Some(next.within), problem: None },
        Err(error) => told(format!("noting that a change waits to be confirmed: {error:#}")),
    }
}
