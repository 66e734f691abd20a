//! Every container as PID 1 last told of it. News and replies come over one connection in their order: after the reply
//! to a request this table has what the request did.

use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::spec::Snapshot;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The table; copies are the same table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table(Arc<RwLock<BTreeMap<String, Arc<Snapshot>>>>);

impl Table {
    /// Takes what PID 1 tells.
    pub(super) fn note(&self, action: &str, snapshot: &Arc<Snapshot>) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if action == "destroy" {
            table.remove(&snapshot.id);
        } else {
            table.insert(snapshot.id.clone(), Arc::clone(snapshot));
        }
    }

    /// Every container, in the order of ids.
    pub(crate) fn all(&self) -> Vec<Arc<Snapshot>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The container of an id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Snapshot>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// A container by id, name or the unique beginning of an id.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Snapshot>, EngineError> {
        let name = name.trim_start_matches('/');
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let exact = table.get(name).or_else(|| table.values().find(|container| container.spec.name == name));
        if let Some(found) = exact {
            return Ok(Arc::clone(found));
        }
        let mut found = table.values().filter(|container| !name.is_empty() && container.id.starts_with(name));
        match (found.next(), found.next()) {
            (Some(container), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => {
                Err(EngineError::BadRequest(format!("{name} is the beginning of several ids")))
            }
            _ => Err(EngineError::NoSuchContainer(name.to_owned())),
        }
    }

    /// Ids of the images that containers stand on.
    pub(crate) fn images(&self) -> Vec<String> {
        let id = |container: &Snapshot| match container.spec.image_id.is_empty() {
            false => Some(container.spec.image_id.clone()),
            true => lookup::find(&container.spec.image).ok().map(|image| image.id),
        };
        self.all().iter().filter_map(|container| id(container)).collect()
    }
}
