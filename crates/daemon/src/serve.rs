//! Bringing the daemon up, and doing what follows from the events of PID 1.

use crate::api;
use crate::blocking::blocking;
use crate::bus::EventBus;
use crate::checks::Checks;
use crate::execs::Execs;
use crate::hub::Hubs;
use crate::image::registry::Settings;
use crate::image::store::Store;
use crate::network::networks::Networks;
use crate::record::Records;
use crate::shared::Shared;
use crate::table::Table;
use crate::{cleaner, health, init_log, own_log, prepare, removal, restore};
use anyhow::{Context, Result, bail};
use corral_engine::client::Client;
use corral_engine::paths;
use corral_engine::protocol::{Action, Event};
use corral_engine::spec::{Snapshot, State};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Runs the daemon until PID 1 hangs up. `settings` reads the registry settings of the active
/// configuration.
pub fn run(settings: impl Fn() -> Settings + Send + Sync + 'static) -> Result<()> {
    // It was started as /proc/self/exe; `ps` is to show what it is.
    let _ = rustix::thread::set_name(c"ros-engine");
    // A second call in one process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(Box::new(settings)));
    // Threads that still wait for a disk or a registry are not waited for.
    runtime.shutdown_background();
    ended
}

async fn serve(settings: Box<dyn Fn() -> Settings + Send + Sync>) -> Result<()> {
    let (table, hubs, bus) = (Table::default(), Hubs::default(), EventBus::default());
    let (changes, changed) = unbounded_channel();
    let (preparations, requested) = unbounded_channel();
    let events = Events {
        table: table.clone(),
        hubs: hubs.clone(),
        bus: bus.clone(),
        changes,
        preparations,
    };
    let client = Client::connect(move |event, descriptors| events.take(event, descriptors))
        .context("connecting to PID 1")?;
    let shared = Arc::new(Shared {
        client,
        table,
        bus,
        hubs: hubs.clone(),
        checks: Checks::default(),
        records: Records::default(),
        networks: Arc::new(Networks::load()),
        store: Arc::new(Store::default()),
        execs: Execs::default(),
        settings,
    });
    hubs.serve(shared.table.clone());
    let attaching = Arc::clone(&shared);
    blocking(move || attaching.client.attach()).await.context("attaching to PID 1")?;
    shared.networks.serve(&shared.table);
    tokio::spawn(prepare::serve(Arc::clone(&shared), requested));
    tokio::spawn(own_log::bound());
    tokio::spawn(cleaner::run(Arc::clone(&shared)));
    init_log::follow();
    tokio::spawn(restore::restore(Arc::clone(&shared)));
    let following = follow(Arc::clone(&shared), changed);
    tokio::select! {
        served = api::serve(shared, paths::API_SOCKET) => served,
        // PID 1 cuts off who does not read, or could not get all that belongs to a message. The
        // next daemon gets it again.
        () = following => bail!("PID 1 closed the connection"),
    }
}

/// Where the events of PID 1 go. The receivers of both channels live as long as this process.
struct Events {
    table: Table,
    hubs: Hubs,
    bus: EventBus,
    changes: UnboundedSender<(Action, Arc<Snapshot>)>,
    preparations: UnboundedSender<prepare::Preparation>,
}

impl Events {
    fn take(&self, event: Event, mut descriptors: Vec<OwnedFd>) {
        match event {
            Event::Container { id, action, status, definition, time } => {
                let definition = definition.map(|spec| *spec);
                match self.table.update(id, &action, *status, definition) {
                    Some(snapshot) => {
                        self.take_change(action, snapshot, Duration::from_millis(time))
                    }
                    None => {
                        eprintln!("PID 1 reports {action:?} of an undefined container")
                    }
                }
            }
            Event::Log { id, name, stream } => {
                if let Some(descriptor) = descriptors.pop() {
                    self.hubs.offer(&id, &name, stream, descriptor);
                }
            }
            Event::ExecEnded { exec, exit_code } => self.bus.exec_ended(&exec, exit_code),
            Event::TryAgain { id } => self.hubs.wake(&id),
            Event::Prepare { id, spec } => drop(self.preparations.send((id, Some(spec)))),
            Event::CancelPreparation { id } => drop(self.preparations.send((id, None))),
        }
    }

    fn take_change(&self, action: Action, snapshot: Arc<Snapshot>, time: Duration) {
        if action == Action::Die && snapshot.status.error.is_some() {
            self.hubs.not_started(&snapshot.id);
        }
        self.hubs.wake(&snapshot.id);
        if action != Action::Known {
            self.bus.container(&action.word(), &snapshot, time, attribute(&action));
        }
        drop(self.changes.send((action, snapshot)));
    }
}

/// The attribute that Docker adds to such an event.
fn attribute(action: &Action) -> Option<(&'static str, String)> {
    match action {
        Action::Kill(signal) => Some(("signal", signal.number().to_string())),
        Action::Rename { old_name } => Some(("oldName", format!("/{old_name}"))),
        _ => None,
    }
}

/// Does what follows from the events of containers, until PID 1 hangs up.
async fn follow(shared: Arc<Shared>, mut changed: UnboundedReceiver<(Action, Arc<Snapshot>)>) {
    while let Some((action, snapshot)) = changed.recv().await {
        if let Action::Create
        | Action::Start
        | Action::Die
        | Action::Rename { .. }
        | Action::Update = action
        {
            shared.records.update(&snapshot);
        }
        let is_on_network = !snapshot.spec.endpoints.is_empty();
        match action {
            Action::Known | Action::Start if snapshot.status.is_up() => {
                health::watch(&shared, &snapshot);
                if is_on_network {
                    shared.networks.apply_soon();
                }
            }
            Action::Die => {
                shared.checks.forget(&snapshot.id);
                if is_on_network {
                    shared.networks.apply_soon();
                }
                if snapshot.spec.auto_remove && snapshot.status.state == State::Exited {
                    tokio::spawn(removal::remove_ended(Arc::clone(&shared), snapshot.id.clone()));
                }
            }
            Action::Destroy => {
                shared.hubs.forget(&snapshot.id);
                shared.records.forget(&snapshot.id);
            }
            _ => {}
        }
    }
}
