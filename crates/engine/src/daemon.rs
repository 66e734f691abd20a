//! The engine daemon, a child of PID 1: serves the Docker Engine API, pulls images, and writes the logs of containers.
//! It holds no state that matters: when it dies, PID 1 starts it again, tells it of every container and hands it the
//! streams; the rest lies on the state disk.

pub(crate) mod bus;
mod cleaner;
pub(crate) mod health;
pub(crate) mod hub;
mod prepare;
pub(crate) mod record;
pub(crate) mod table;

use crate::client::Client;
use crate::error::EngineError;
use crate::image::registry::Settings;
use crate::image::store::Store;
use crate::network::Networks;
use crate::protocol::{Event, Request};
use crate::spec::Snapshot;
use crate::{api, paths};
use anyhow::{Context, Result, bail};
use bus::Bus;
use health::Checks;
use hub::Hubs;
use record::Records;
use std::sync::Arc;
use table::Table;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What every request of the API can reach.
pub struct Shared {
    pub(crate) client: Client,
    /// Every container as PID 1 last told of it.
    pub(crate) table: Table,
    /// Everything that happens.
    pub(crate) bus: Bus,
    /// The streams of containers.
    pub(crate) hubs: Hubs,
    pub(crate) checks: Checks,
    pub(crate) records: Records,
    pub(crate) networks: Networks,
    pub(crate) store: Arc<Store>,
    /// Processes that were asked for and not yet started, or that run.
    pub(crate) execs: api::exec::Execs,
    settings: Box<dyn Fn() -> Settings + Send + Sync>,
}

impl Shared {
    /// What the configuration in force says about registries.
    pub(crate) fn settings(&self) -> Settings {
        (self.settings)()
    }

    /// Asks PID 1 and waits, where that holds nobody up.
    pub(crate) async fn ask(
        self: &Arc<Shared>,
        request: Request,
    ) -> Result<crate::protocol::Reply, EngineError> {
        let shared = Arc::clone(self);
        blocking(move || shared.client.call(request)).await
    }

    /// A container by id, name or the unique beginning of an id.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Snapshot>, EngineError> {
        self.table.find(name)
    }
}

/// Runs the daemon until PID 1 hangs up. `settings` reads what the configuration says at the moment.
pub fn run(settings: impl Fn() -> Settings + Send + Sync + 'static) -> Result<()> {
    // It was started as /proc/self/exe; `ps` is to show what it is.
    let _ = rustix::thread::set_name(c"ros-engine");
    // A second call in one process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(Box::new(settings)));
    // Threads that still wait for a disk or a registry are not waited for.
    runtime.shutdown_background();
    ended
}

async fn serve(settings: Box<dyn Fn() -> Settings + Send + Sync>) -> Result<()> {
    let (table, hubs, bus) = (Table::default(), Hubs::default(), Bus::default());
    let (news, happened) = unbounded_channel();
    let (orders, wanted) = unbounded_channel();
    let (known, streams, told) = (table.clone(), hubs.clone(), bus.clone());
    let client = Client::connect(move |event, mut descriptors| match event {
        Event::Container { action, snapshot, time, detail } => {
            let snapshot = Arc::new(*snapshot);
            known.note(&action, &snapshot);
            streams.wake(&snapshot.id);
            if action != "known" {
                told.container(&action, &snapshot, time, detail.as_ref());
            }
            // The receiver lives as long as this process.
            let _ = news.send((action, snapshot));
        }
        Event::Log { id, name, stream } => {
            if let Some(descriptor) = descriptors.pop() {
                streams.offer(&id, &name, stream, descriptor);
            }
        }
        Event::ExecEnded { exec, exit_code } => told.exec_ended(&exec, exit_code),
        Event::Prepare { id, spec } => {
            let _ = orders.send((id, *spec));
        }
    })
    .context("connecting to PID 1")?;
    let shared = Arc::new(Shared {
        client,
        table,
        bus,
        hubs: hubs.clone(),
        checks: Checks::default(),
        records: Records::default(),
        networks: Networks::load(),
        store: Arc::new(Store::default()),
        execs: api::exec::Execs::default(),
        settings,
    });
    hubs.serve(Arc::downgrade(&shared));
    let attaching = Arc::clone(&shared);
    blocking(move || attaching.client.attach()).await.context("attaching to PID 1")?;
    shared.networks.serve(&shared);
    tokio::spawn(prepare::serve(Arc::clone(&shared), wanted));
    tokio::spawn(cleaner::run(Arc::clone(&shared)));
    tokio::spawn(record::restore(Arc::clone(&shared)));
    let following = follow(Arc::clone(&shared), happened);
    tokio::select! {
        served = api::serve(shared, paths::API_SOCKET) => served,
        // PID 1 cuts off who does not read, or could not get all that belongs to a message. The next daemon gets it again.
        () = following => bail!("PID 1 hung up"),
    }
}

/// Does what follows from what happens to containers, until PID 1 hangs up.
async fn follow(shared: Arc<Shared>, mut happened: UnboundedReceiver<(String, Arc<Snapshot>)>) {
    while let Some((action, snapshot)) = happened.recv().await {
        if ["create", "start", "die", "rename", "update"].contains(&action.as_str()) {
            shared.records.note(&snapshot);
        }
        let is_on_network = !snapshot.spec.endpoints.is_empty();
        match action.as_str() {
            "known" | "start" if snapshot.status.is_up() => {
                health::watch(&shared, &snapshot);
                if is_on_network {
                    shared.networks.apply_soon();
                }
            }
            "die" => {
                shared.checks.forget(&snapshot.id);
                if is_on_network {
                    shared.networks.apply_soon();
                }
                if snapshot.spec.auto_remove && snapshot.status.word() == "exited" {
                    tokio::spawn(api::remove_ended(Arc::clone(&shared), snapshot.id.clone()));
                }
            }
            "destroy" => {
                shared.hubs.forget(&snapshot.id);
                shared.records.forget(&snapshot.id);
            }
            _ => {}
        }
    }
}

/// Runs something that waits, such as a call to PID 1, where it does not hold up others.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(EngineError::Failed(format!("a task of the engine ended: {error}"))))
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("table", &self.table).finish_non_exhaustive()
    }
}
