//! Every container as PID 1 last reported it. Events and replies come over one connection in their
//! order: after the reply to a request this table has what the request did.

use corral_engine::error::EngineError;
use corral_engine::identity;
use corral_engine::image::lookup;
use corral_engine::protocol::Action;
use corral_engine::spec::{ContainerSpec, Snapshot, Status};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The table; copies are the same table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table(Arc<RwLock<BTreeMap<String, Arc<Snapshot>>>>);

impl Table {
    /// Takes what PID 1 reports: a container as it is now. None if its definition never came.
    pub(super) fn update(
        &self,
        id: String,
        action: &Action,
        status: Status,
        definition: Option<ContainerSpec>,
    ) -> Option<Arc<Snapshot>> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let spec = definition.or_else(|| table.get(&id).map(|known| known.spec.clone()))?;
        let snapshot = Arc::new(Snapshot { id, spec, status });
        match action {
            Action::Destroy => table.remove(&snapshot.id),
            _ => table.insert(snapshot.id.clone(), Arc::clone(&snapshot)),
        };
        Some(snapshot)
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
        identity::find(
            table.values(),
            name,
            |container| (container.id.as_str(), container.spec.name.as_str()),
            EngineError::NoSuchContainer,
        )
        .cloned()
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
