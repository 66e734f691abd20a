//! What is kept of containers that clients made, so that they are there after a boot: one file each.

use corral_engine::durable;
use corral_engine::paths;
use corral_engine::spec::{ContainerSpec, Past, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

/// What is kept of one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) spec: ContainerSpec,
    pub(crate) past: Past,
    /// What the client asked for: `inspect` shows it as it was.
    pub(crate) config: Value,
    pub(crate) host_config: Value,
    /// Somebody ended it: it does not come back by itself.
    pub(crate) ended_by_hand: bool,
}

/// The records of all containers that clients made.
#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<HashMap<String, Record>>);

impl Records {
    /// Keeps what a client made, on the disk as well unless it goes when it ends.
    pub(crate) fn add(&self, id: &str, record: Record) -> anyhow::Result<()> {
        if !record.spec.auto_remove {
            durable::write_json(&paths::record(id), &record)?;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), record);
        Ok(())
    }

    /// Takes those of earlier boots.
    pub(super) fn extend(&self, found: &[(String, Record)]) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.extend(found.iter().cloned());
    }

    /// What is known of one.
    pub(crate) fn get(&self, id: &str) -> Option<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// A client ended it, or wants it to run.
    pub(crate) fn ended_by_hand(&self, id: &str, ended: bool) {
        self.change(id, |record| record.ended_by_hand = ended);
    }

    /// It is another now, or has another past.
    pub(super) fn note(&self, snapshot: &Snapshot) {
        let status = &snapshot.status;
        self.change(&snapshot.id, |record| {
            record.spec = snapshot.spec.clone();
            record.past = Past {
                created: status.created,
                started: status.started,
                finished: status.finished,
                exit_code: status.exit_code,
            };
        });
    }

    pub(super) fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// It was not made after all.
    pub(crate) fn discard(&self, id: &str) {
        self.forget(id);
        let _ = fs::remove_dir_all(paths::container(id));
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Record)) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = records.get_mut(id) else { return };
        change(record);
        if !record.spec.auto_remove
            && paths::record(id).exists()
            && let Err(error) = durable::write_json(&paths::record(id), record)
        {
            eprintln!("keeping what is known of {id}: {error:#}");
        }
    }
}
