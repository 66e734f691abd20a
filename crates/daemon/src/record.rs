//! Records of the containers that clients created, so that they exist after a boot: one file each.

use corral_engine::durable;
use corral_engine::paths;
use corral_engine::spec::{ContainerSpec, Past, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

/// The record of a container: what a new boot needs to create it again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) spec: ContainerSpec,
    pub(crate) past: Past,
    /// The client's request, which `inspect` shows unchanged.
    pub(crate) config: Value,
    pub(crate) host_config: Value,
    /// A client stopped it: it does not start again by itself.
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

    /// The record of a container.
    pub(crate) fn get(&self, id: &str) -> Option<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Records whether a client stopped the container: then no boot starts it again.
    pub(crate) fn ended_by_hand(&self, id: &str, ended: bool) {
        self.change(id, |record| record.ended_by_hand = ended);
    }

    /// Updates the record of a container that has changed, started or ended.
    pub(super) fn update(&self, snapshot: &Snapshot) {
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

    /// Removes the record of a container that could not be created, with its folder.
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
            eprintln!("saving the record of {id}: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::signal::Signal;
    use corral_engine::spec::{Grace, MacAddress, RestartPolicy};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let spec = json!({
            "name": "web", "image": "busybox", "restart": "on-failure", "restart_limit": 3,
            "stop_signal": "15", "stop_timeout": u64::MAX, "wants": null, "endpoints": [{
                "network": "bridge", "network_id": "1", "endpoint_id": "2", "bridge": "docker-sys",
                "address": "172.18.0.2", "prefix": 16, "gateway": "172.18.42.1",
                "mac": "02:42:ac:12:00:02", "aliases": [], "has_dns": false, "internal": false,
                "mtu": 0,
            }],
            "health": {"test": ["CMD", "true"], "interval": 2_000_000_000_u64, "timeout": 0},
        });
        let past =
            json!({"created": 1_700_000_000_000_u64, "started": 0, "finished": 0, "exit_code": 1});
        let document = json!({
            "spec": spec, "past": past, "config": {}, "host_config": {}, "ended_by_hand": true,
        });
        let record = serde_json::from_value::<Record>(document).unwrap();
        assert_eq!(record.spec.restart, RestartPolicy::OnFailure(Some(3)));
        assert_eq!(
            (record.spec.stop_signal, record.spec.stop_timeout),
            (Signal::TERM, Grace::Unlimited)
        );
        assert_eq!(record.spec.endpoints[0].address.to_string(), "172.18.0.2");
        let health = record.spec.health.as_ref().unwrap();
        assert_eq!((health.interval, health.timeout), (Some(Duration::from_secs(2)), None));
        assert_eq!(record.past.created, Duration::from_secs(1_700_000_000));
        assert_eq!(record.past.started, None);
        let written = serde_json::to_value(&record).unwrap();
        assert_eq!(serde_json::from_value::<Record>(written).unwrap().spec, record.spec);
    }

    #[test]
    fn what_an_earlier_version_did_not_check_costs_no_container() {
        let endpoint = json!({
            "network": "bridge", "network_id": "1", "endpoint_id": "2", "bridge": "docker-sys",
            "address": "172.18.0.2", "prefix": 16, "gateway": "172.18.42.1",
            "mac": "0242.ac12.0002", "aliases": [], "has_dns": false, "internal": false, "mtu": 0,
        });
        let spec = json!({
            "name": "web", "stop_signal": "SIGFOO", "restart": "sometimes",
            "endpoints": [endpoint],
        });
        let spec: ContainerSpec = serde_json::from_value(spec).unwrap();
        assert_eq!((spec.stop_signal, spec.restart), (Signal::TERM, RestartPolicy::No));
        assert_eq!(spec.endpoints[0].mac, MacAddress::default());
    }
}
