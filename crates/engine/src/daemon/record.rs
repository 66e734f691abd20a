//! What is kept of containers that clients made, so that they are there after a boot: one file each.

use super::{Shared, blocking};
use crate::durable;
use crate::image::layout;
use crate::paths;
use crate::protocol::Request;
use crate::spec::{ContainerSpec, Past, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Tells PID 1 of the containers of earlier boots, and starts those that are to run.
pub(super) async fn restore(shared: Arc<Shared>) {
    let reading = Arc::clone(&shared);
    let found = blocking(move || Ok(load_all_and_note(&reading.records))).await.unwrap_or_default();
    for (id, record) in found {
        if shared.table.get(&id).is_some() {
            continue;
        }
        let past = Some(record.past.clone());
        let create = Request::Create { id: id.clone(), spec: Box::new(record.spec.clone()), past };
        if let Err(error) = shared.ask(create).await {
            eprintln!("container {id} of an earlier boot: {error}");
            continue;
        }
        let comes_back = match record.spec.restart.as_str() {
            "always" => true,
            "unless-stopped" => !record.ended_by_hand,
            "on-failure" => record.past.exit_code != 0 && !record.ended_by_hand,
            _ => false,
        };
        if comes_back && record.past.started > 0 {
            let starting = Arc::clone(&shared);
            tokio::spawn(async move {
                if let Err(error) = starting.ask(Request::Start { container: id.clone() }).await {
                    eprintln!("starting {id} again: {error}");
                }
            });
        }
    }
}

/// What cannot be read is left as it is, and noted for `ros why`.
fn load_all_and_note(records: &Records) -> Vec<(String, Record)> {
    let (found, mut damaged) = load_all(records);
    damaged.extend(layout::split_kept().1.into_iter().map(|file| format!("image {}", file.display())));
    let _ = fs::remove_file(paths::DAMAGED);
    if !damaged.is_empty() {
        let text: String = damaged.iter().map(|line| format!("{line}\n")).collect();
        eprint!("{text}");
        if let Err(error) = fs::write(paths::DAMAGED, text) {
            eprintln!("writing {}: {error}", paths::DAMAGED);
        }
    }
    found
}

/// The containers, and what is wrong with those that cannot be read.
fn load_all(records: &Records) -> (Vec<(String, Record)>, Vec<String>) {
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    for item in fs::read_dir(paths::container("")).into_iter().flatten().flatten() {
        let id = item.file_name().to_string_lossy().into_owned();
        let file = paths::record(&id);
        match fs::read(&file)
            .map_err(serde_json::Error::io)
            .and_then(|text| serde_json::from_slice::<Record>(&text))
        {
            Ok(record) => found.push((id, record)),
            // Services are made again at each boot, and have no record.
            Err(_) if !file.exists() => {}
            Err(error) => damaged.push(format!("container {}: {error}", file.display())),
        }
    }
    let mut known = records.0.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(found.iter().cloned());
    (found, damaged)
}
