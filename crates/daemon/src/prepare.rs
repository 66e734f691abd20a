//! Prepares services of the plan for PID 1: pulls the image, creates volumes and networks,
//! allocates addresses and ports. In: `Event::Prepare` with a specification. Out:
//! `Request::Prepared` with the finished specification, or the reason why not. It creates no
//! container.

use crate::blocking::blocking;
use crate::image::progress::Progress;
use crate::image::pull::PullRequest;
use crate::network::networks::{EndpointSettings, NetworkCreate};
use crate::network::ports;
use crate::network::record::Network;
use crate::shared::Shared;
use crate::volume;
use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::image::reference;
use corral_engine::protocol::Request;
use corral_engine::spec::{ContainerSpec, NetworkAttachment, Pull, Requirements, Snapshot};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

/// The delays between attempts to reach a registry, in seconds: the network may not be there yet.
const RETRY_DELAYS: [u64; 5] = [1, 2, 4, 8, 15];

/// The id of a container, and what is to be prepared; None if that is not needed any more.
pub(super) type Preparation = (String, Option<Box<ContainerSpec>>);

/// Prepares what PID 1 requests, each by itself. A later request for a container replaces the
/// earlier one.
pub(super) async fn serve(shared: Arc<Shared>, mut requests: UnboundedReceiver<Preparation>) {
    // Each task ends its fetching when its sender is dropped.
    let mut running: HashMap<String, oneshot::Sender<()>> = HashMap::new();
    while let Some((id, spec)) = requests.recv().await {
        running.retain(|_, cancel| !cancel.is_closed());
        running.remove(&id);
        if let Some(spec) = spec {
            let (cancel, cancelled) = oneshot::channel();
            tokio::spawn(prepare(Arc::clone(&shared), id.clone(), *spec, cancelled));
            running.insert(id, cancel);
        }
    }
}

async fn prepare(
    shared: Arc<Shared>,
    id: String,
    mut spec: ContainerSpec,
    cancelled: oneshot::Receiver<()>,
) {
    let requirements = spec.requirements.take().unwrap_or_default();
    // Only this may take long. What follows is not left half done: PID 1 refuses what it does not
    // need.
    let fetched = tokio::select! {
        fetched = fetch(&shared, &id, &spec.image, requirements.pull) => fetched,
        _ = cancelled => return,
    };
    let outcome = match fetched {
        Ok(()) => {
            if spec.image_id.is_empty() {
                spec.image_id = lookup::find(&spec.image).map(|image| image.id).unwrap_or_default();
            }
            allocate(&shared, &id, spec, requirements).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = outcome
        && let Err(error) = answer(&shared, id, Err(error.to_string())).await
    {
        eprintln!("preparing a service: {error}");
    }
}

async fn answer(
    shared: &Arc<Shared>,
    container: String,
    result: Result<Box<ContainerSpec>, String>,
) -> Result<(), EngineError> {
    shared.call(Request::Prepared { container, result }).await.map(drop)
}

/// Has the image here, as its policy requires.
async fn fetch(
    shared: &Arc<Shared>,
    id: &str,
    name: &str,
    policy: Pull,
) -> Result<(), EngineError> {
    let is_here = lookup::find(name).is_ok();
    match policy {
        Pull::Never if is_here => return Ok(()),
        Pull::Never => return Err(EngineError::NoSuchImage(name.to_owned())),
        Pull::Missing if is_here => return Ok(()),
        Pull::Missing | Pull::Always => {}
    }
    if !is_here {
        return fetch_with_retries(shared, id, name).await;
    }
    // What is here already serves while the registry is away.
    if let Err(error) = pull(shared, name).await {
        eprintln!("pulling {name}: {error}; using the image in the store");
    }
    Ok(())
}

/// Tries again where the registry cannot be reached; PID 1 knows why meanwhile.
async fn fetch_with_retries(shared: &Arc<Shared>, id: &str, name: &str) -> Result<(), EngineError> {
    let mut changes = shared.hubs.get(id).watch();
    let mut delays = RETRY_DELAYS.iter().peekable();
    loop {
        let error = match pull(shared, name).await {
            Err(EngineError::Failed(error)) => error,
            pulled => return pulled,
        };
        // It may have come by another way.
        if lookup::find(name).is_ok() {
            return Ok(());
        }
        let problem = format!("pulling {name}: {error}");
        let Some(delay) = delays.peek() else { return Err(EngineError::Failed(problem)) };
        eprintln!("{problem}; retrying in {delay} s");
        shared.call(Request::NotPrepared { container: id.to_owned(), problem }).await?;
        // The delay ends early if a client requests the start, for which there may be a reason.
        let waiting = tokio::time::timeout(Duration::from_secs(**delay), changes.changed());
        if waiting.await.is_err() {
            delays.next();
        }
        if lookup::find(name).is_ok() {
            return Ok(());
        }
    }
}

async fn pull(shared: &Arc<Shared>, name: &str) -> Result<(), EngineError> {
    let name = reference::familiar(name)?;
    let wanted = PullRequest {
        name: name.clone(),
        settings: shared.settings(),
        account: None,
        platform: "linux/amd64".to_owned(),
    };
    let id = shared.store.pull(wanted, Progress::silent()).await?;
    shared.bus.emit("image", "pull", &name, serde_json::json!({"name": name, "id": id}));
    Ok(())
}

/// Volumes, endpoints and ports. PID 1 knows of them before another container is given any.
async fn allocate(
    shared: &Arc<Shared>,
    id: &str,
    mut spec: ContainerSpec,
    requirements: Requirements,
) -> Result<(), EngineError> {
    make_volumes(&mut spec)?;
    let mut networks = Vec::new();
    for attachment in &requirements.networks {
        networks.push(network(shared, attachment).await?);
    }
    let _allocation = shared.networks.allocation.lock().await;
    let mut containers = shared.table.all();
    containers.retain(|container| container.id != id);
    for (attachment, network) in requirements.networks.iter().zip(&networks) {
        let settings = EndpointSettings {
            address: attachment.address,
            mac: attachment.mac,
            aliases: attachment.aliases.clone(),
            ..EndpointSettings::default()
        };
        spec.endpoints.push(shared.networks.allocate(network, &containers, &settings)?);
    }
    for (name, alias) in &requirements.links {
        let address = linked(&spec, &containers, name)?;
        for known in [alias, name] {
            let line = format!("{known}:{address}");
            if !spec.extra_hosts.contains(&line) {
                spec.extra_hosts.push(line);
            }
        }
    }
    ports::choose(&containers, &mut spec)?;
    ports::check(&containers, id, &spec)?;
    answer(shared, id.to_owned(), Ok(Box::new(spec))).await
}

fn make_volumes(spec: &mut ContainerSpec) -> Result<(), EngineError> {
    for bind in spec.binds.iter_mut().filter(|bind| bind.source.is_empty()) {
        let Some(name) = &bind.volume else { continue };
        bind.source = volume::create(name, BTreeMap::new())?.data().display().to_string();
    }
    Ok(())
}

/// The network of an attachment; it is created if it may be.
async fn network(
    shared: &Arc<Shared>,
    attachment: &NetworkAttachment,
) -> Result<Network, EngineError> {
    // Two services may require the same one at the same time: the second to come finds it created.
    let _creation = shared.networks.allocation.lock().await;
    let found = shared.networks.find(&attachment.network);
    if found.is_ok() || !attachment.may_be_created {
        return found;
    }
    let wanted = NetworkCreate {
        name: attachment.network.clone(),
        internal: attachment.internal,
        labels: attachment.labels.clone(),
        subnet: attachment.subnet,
        gateway: attachment.gateway,
        ..NetworkCreate::default()
    };
    let creating = Arc::clone(shared);
    let network = blocking(move || creating.networks.create(wanted)).await?;
    shared.networks.serve_names(&shared.table, &network);
    Ok(network)
}

/// The address of another container in a network that both are in.
fn linked(
    spec: &ContainerSpec,
    containers: &[Arc<Snapshot>],
    name: &str,
) -> Result<Ipv4Addr, EngineError> {
    let other = containers.iter().find(|container| container.spec.name == name);
    let other = other.ok_or_else(|| EngineError::NoSuchContainer(name.to_owned()))?;
    let is_common = |id: &String| spec.endpoints.iter().any(|endpoint| endpoint.network_id == *id);
    let common = other.spec.endpoints.iter().find(|endpoint| is_common(&endpoint.network_id));
    common.map(|endpoint| endpoint.address).ok_or_else(|| {
        EngineError::BadRequest(format!("link to {name}: it shares no network with this container"))
    })
}
