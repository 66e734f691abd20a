//! What the health checks of containers found.

use corral_engine::spec::{HealthState, Snapshot};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::task::AbortHandle;

/// What is known of the checks of all containers.
#[derive(Debug, Default)]
pub(crate) struct Checks(Mutex<HashMap<String, Check>>);

/// Results that are kept of each.
const RESULTS: usize = 5;

#[derive(Debug)]
struct Check {
    task: AbortHandle,
    /// Failures in a row.
    failures: u32,
    results: Vec<Value>,
}

impl Checks {
    /// Begins the check of a container, and ends an earlier one.
    pub(super) fn begin(&self, id: &str, spawn: impl FnOnce() -> AbortHandle) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Check { task: spawn(), failures: 0, results: Vec::new() };
        if let Some(old) = checks.insert(id.to_owned(), fresh) {
            old.task.abort();
        }
    }

    /// Adds a result, which `inspect` of the container shows. Returns the failures in a row; those
    /// in a start period do not add to them. None if the container has ended.
    pub(super) fn add(&self, id: &str, code: i32, result: Value, in_grace: bool) -> Option<u32> {
        self.with(id, |check| {
            check.results.push(result);
            if check.results.len() > RESULTS {
                check.results.remove(0);
            }
            check.failures = match code {
                0 => 0,
                _ if in_grace => check.failures,
                _ => check.failures + 1,
            };
            check.failures
        })
    }

    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Check) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(id).map(work)
    }

    /// The container ended.
    pub(super) fn forget(&self, id: &str) {
        if let Some(check) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id) {
            check.task.abort();
        }
    }

    /// As `inspect` shows it.
    pub(crate) fn to_json(&self, container: &Snapshot) -> Value {
        let known = self.with(&container.id, |check| (check.failures, check.results.clone()));
        let (failures, results) = known.unwrap_or_default();
        json!({
            "Status": container.status.health.map_or("none", HealthState::word),
            "FailingStreak": failures, "Log": results,
        })
    }
}
