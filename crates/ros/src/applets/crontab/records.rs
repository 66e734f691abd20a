//! The last runs that must be known after a boot: of containers that catch up on missed runs, and
//! of those that run once in a boot. Others are not written, so that a schedule for every second
//! does not wear out a disk.

use super::key::Key;
use anyhow::{Context, Result};
use corral_machine::files::{read_complete, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A container that runs more often than this, in seconds, is written at this interval only.
const INTERVAL: i64 = 60;
/// A run this long ago, in seconds, means nothing any more: no schedule but 29 February is rarer.
const OLDEST: i64 = 5 * 366 * 86_400;
const LARGEST: u64 = 4 << 20;

/// The last run of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Its schedule then, as written.
    schedule: String,
    /// Seconds since 1970.
    last: i64,
    /// The boot in which it was.
    boot: String,
}

/// By engine and name.
#[derive(Debug, Default)]
pub(super) struct Records {
    all: BTreeMap<String, Record>,
    is_changed: bool,
}

impl Records {
    /// Reads the file. One that is missing or damaged is empty: missed runs are then not known.
    pub(super) fn load(path: &Path) -> Records {
        let text = read_complete(path, LARGEST).unwrap_or_default();
        let all = serde_json::from_slice(&text).unwrap_or_else(|error| {
            if !text.is_empty() {
                println!("{}: {error}; missed runs are not known", path.display());
            }
            BTreeMap::new()
        });
        Records { all, is_changed: false }
    }

    /// The last run, or when it was first seen. A future one is of a clock that was wrong.
    pub(super) fn last(&self, key: &Key, schedule: &str, now: i64) -> Option<i64> {
        let record = self.all.get(&key.to_string())?;
        (record.schedule == schedule).then_some(record.last.min(now))
    }

    /// Whether it has run in this boot.
    pub(super) fn has_run_in(&self, key: &Key, boot: &str) -> bool {
        self.all.get(&key.to_string()).is_some_and(|record| record.boot == boot)
    }

    /// Notes a run.
    pub(super) fn note(&mut self, key: &Key, schedule: &str, now: i64, boot: &str) {
        let record = Record { schedule: schedule.to_owned(), last: now, boot: boot.to_owned() };
        let old = self.all.insert(key.to_string(), record.clone());
        let is_same = |old: &Record| {
            old.schedule == record.schedule
                && old.boot == record.boot
                && (0..INTERVAL).contains(&(now - old.last))
        };
        match old {
            // The older moment stays: it is what the file has.
            Some(old) if is_same(&old) => drop(self.all.insert(key.to_string(), old)),
            _ => self.is_changed = true,
        }
    }

    /// Forgets containers of an engine that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        let count = self.all.len();
        self.all.retain(|key, _| is_there(key));
        self.is_changed |= self.all.len() < count;
    }

    /// Writes the file if there is something new.
    pub(super) fn save(&mut self, path: &Path) -> Result<()> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        let newest = self.all.values().map(|record| record.last).max().unwrap_or_default();
        self.all.retain(|_, record| newest - record.last < OLDEST);
        let text = serde_json::to_vec(&self.all)?;
        write_atomic(path, &text, 0o600).context("keeping the last runs")
    }
}
