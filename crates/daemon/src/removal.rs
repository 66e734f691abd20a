//! Removing a container with what is kept of it.

use crate::blocking::blocking;
use crate::shared::Shared;
use crate::volume;
use corral_engine::error::EngineError;
use corral_engine::protocol::Request;
use corral_engine::runtime::cleanup;
use corral_engine::spec::Snapshot;
use std::sync::Arc;

/// Forgets a container and removes what is kept of it.
pub(crate) async fn remove_container(
    shared: &Arc<Shared>,
    container: &Arc<Snapshot>,
    force: bool,
    with_volumes: bool,
) -> Result<(), EngineError> {
    shared.call(Request::Remove { container: container.id.clone(), force }).await?;
    let (gone, removing) = (Arc::clone(container), Arc::clone(shared));
    blocking(move || {
        cleanup::remove_files(&gone.id);
        let used = removing.table.all();
        let is_used = |name: &str| {
            used.iter().any(|other| {
                other.spec.binds.iter().any(|bind| bind.volume.as_deref() == Some(name))
            })
        };
        let own = gone
            .spec
            .binds
            .iter()
            .filter_map(|bind| bind.volume.as_deref())
            .filter(|name| with_volumes && !is_used(name));
        for name in own {
            let is_anonymous = volume::find(name)
                .is_ok_and(|volume| volume.labels.contains_key(volume::ANONYMOUS));
            if is_anonymous && let Err(error) = volume::remove(name) {
                eprintln!("{error}");
            }
        }
        Ok(())
    })
    .await
}

/// Removes a container that was to go when it ends.
pub(super) async fn remove_ended(shared: Arc<Shared>, id: String) {
    let Some(container) = shared.table.get(&id) else { return };
    match remove_container(&shared, &container, false, true).await {
        Ok(()) | Err(EngineError::NoSuchContainer(_)) => {}
        Err(error) => eprintln!("removing {}: {error}", container.spec.name),
    }
}
