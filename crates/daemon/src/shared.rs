//! What every request of the API and every task of the daemon can reach.

use crate::blocking::blocking;
use crate::bus::EventBus;
use crate::checks::Checks;
use crate::execs::Execs;
use crate::hub::Hubs;
use crate::image::registry::Settings;
use crate::image::store::Store;
use crate::network::networks::Networks;
use crate::record::Records;
use crate::table::Table;
use corral_engine::client::Client;
use corral_engine::error::EngineError;
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::Snapshot;
use std::sync::Arc;

/// What every request of the API can reach.
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// Every container as PID 1 last reported it.
    pub(crate) table: Table,
    /// All events.
    pub(crate) bus: EventBus,
    /// The streams of containers.
    pub(crate) hubs: Hubs,
    pub(crate) checks: Checks,
    pub(crate) records: Records,
    pub(crate) networks: Arc<Networks>,
    pub(crate) store: Arc<Store>,
    /// Processes that were requested and not yet started, or that run.
    pub(crate) execs: Execs,
    pub(super) settings: Box<dyn Fn() -> Settings + Send + Sync>,
}

impl Shared {
    /// The registry settings of the active configuration.
    pub(crate) fn settings(&self) -> Settings {
        (self.settings)()
    }

    /// Sends PID 1 a request and waits for the reply, without holding up another task.
    pub(crate) async fn call(self: &Arc<Shared>, request: Request) -> Result<Reply, EngineError> {
        let shared = Arc::clone(self);
        blocking(move || shared.client.call(request)).await
    }

    /// A container by id, name or the unique beginning of an id.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Snapshot>, EngineError> {
        self.table.find(name)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("table", &self.table).finish_non_exhaustive()
    }
}
