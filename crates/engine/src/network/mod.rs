//! Networks of system containers: `host` and `none`, the bridge `docker-sys`, and bridges that clients make. An address
//! belongs to a container as long as it is in the network; interfaces are made by the helper that starts it.

mod dns;
mod firewall;
pub(crate) mod ports;
mod subnet;

use crate::daemon::{Shared, blocking};
use crate::durable;
use crate::error::EngineError;
use crate::id::new_id;
use crate::image::digest::digest;
use crate::paths;
use crate::spec::{Endpoint, Snapshot};
use crate::time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
pub(crate) use subnet::Subnet;
use tokio::sync::Notify;

/// The bridge of containers that name no network, as in the original.
const DEFAULT_BRIDGE: &str = "docker-sys";
const DEFAULT_SUBNET: &str = "172.18.0.0/16";
const DEFAULT_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 42, 1);

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `bridge`, `host` or `null`.
    pub(crate) driver: String,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) internal: bool,
    pub(crate) attachable: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    /// A bridge's own; empty otherwise.
    pub(crate) bridge: String,
    pub(crate) subnet: Option<Subnet>,
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// What a client wants of a new network.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) internal: bool,
    pub(crate) attachable: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) subnet: Option<Subnet>,
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// All networks.
#[derive(Debug)]
pub(crate) struct Networks {
    known: Mutex<Vec<Network>>,
    /// Addresses are given out one at a time, until PID 1 knows the container that has one.
    pub(crate) giving: tokio::sync::Mutex<()>,
    changed: Arc<Notify>,
    /// One change of the firewall at a time.
    applying: tokio::sync::Mutex<()>,
    dns: dns::Servers,
}

impl Networks {
    /// Those of earlier boots, and the three that are always there.
    pub(crate) fn load() -> Networks {
        let kept = fs::read(file()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut known: Vec<Network> = kept.unwrap_or_default();
        known.splice(0..0, predefined());
        Networks {
            known: Mutex::new(known),
            giving: tokio::sync::Mutex::default(),
            changed: Arc::default(),
            applying: tokio::sync::Mutex::default(),
            dns: dns::Servers::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Network>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Network> {
        self.lock().clone()
    }

    /// A network by name, id or the unique beginning of an id.
    pub(crate) fn find(&self, name: &str) -> Result<Network, EngineError> {
        let known = self.lock();
        let name = if name == "default" { "bridge" } else { name };
        if let Some(found) = known.iter().find(|network| network.name == name || network.id == name) {
            return Ok(found.clone());
        }
        let mut found = known.iter().filter(|network| !name.is_empty() && network.id.starts_with(name));
        match (found.next(), found.next()) {
            (Some(network), None) => Ok(network.clone()),
            _ => Err(EngineError::NotFound(format!("network {name} not found"))),
        }
    }

    /// Makes a bridge network.
    pub(crate) fn create(&self, wanted: Wanted) -> Result<Network, EngineError> {
        let mut known = self.lock();
        if known.iter().any(|network| network.name == wanted.name) {
            return Err(EngineError::Conflict(format!("network with name {} already exists", wanted.name)));
        }
        let taken: Vec<Subnet> =
            known.iter().filter_map(|network| network.subnet).chain(subnet::of_host()).collect();
        let subnet = match wanted.subnet {
            Some(subnet)
                if known.iter().filter_map(|network| network.subnet).any(|other| other.overlaps(subnet)) =>
            {
                return Err(EngineError::BadRequest(format!(
                    "{subnet} overlaps with another network of this engine"
                )));
            }
            Some(subnet) => subnet,
            None => subnet::free(&taken)
                .ok_or_else(|| EngineError::Failed("no range of addresses is free: name one".to_owned()))?,
        };
        let gateway = wanted.gateway.unwrap_or_else(|| subnet.first());
        if !subnet.contains(gateway) {
            return Err(EngineError::BadRequest(format!("the gateway {gateway} is not in {subnet}")));
        }
        let id = new_id();
        let named = wanted.options.get("com.docker.network.bridge.name").cloned();
        let network = Network {
            bridge: named.unwrap_or_else(|| format!("br-{}", &id[..12])),
            id,
            name: wanted.name,
            driver: "bridge".to_owned(),
            created: time::rfc3339(time::now()),
            internal: wanted.internal,
            attachable: wanted.attachable,
            labels: wanted.labels,
            options: wanted.options,
            subnet: Some(subnet),
            gateway: Some(gateway),
        };
        known.push(network.clone());
        save(&known)?;
        Ok(network)
    }

    /// Removes a network in which nobody is; its bridge goes too.
    pub(crate) async fn remove(
        &self,
        network: &Network,
        containers: &[Arc<Snapshot>],
    ) -> Result<(), EngineError> {
        if is_predefined(&network.name) {
            return Err(EngineError::Forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            )));
        }
        let users: Vec<&str> =
            members(network, containers).map(|(container, _)| container.spec.name.as_str()).collect();
        if !users.is_empty() {
            return Err(EngineError::Forbidden(format!(
                "network {} has active endpoints: {}",
                network.name,
                users.join(", ")
            )));
        }
        {
            let mut known = self.lock();
            known.retain(|other| other.id != network.id);
            save(&known)?;
        }
        if let Some(gateway) = network.gateway {
            self.dns.forget(gateway);
        }
        remove_bridge(&network.bridge).await;
        self.changed.notify_one();
        Ok(())
    }

    /// A place in a network for a container. Hold `giving` until PID 1 knows of it.
    pub(crate) fn place(
        &self,
        network: &Network,
        containers: &[Arc<Snapshot>],
        wanted: &Place,
    ) -> Result<Endpoint, EngineError> {
        let (Some(subnet), Some(gateway)) = (network.subnet, network.gateway) else {
            return Err(EngineError::BadRequest(format!("network {} has no places", network.name)));
        };
        let taken: BTreeSet<Ipv4Addr> = members(network, containers)
            .filter_map(|(_, endpoint)| endpoint.address.parse().ok())
            .chain([gateway])
            .collect();
        let address = match wanted.address {
            Some(address) if !subnet.contains(address) => {
                return Err(EngineError::BadRequest(format!("{address} is not in {subnet}")));
            }
            Some(address) if taken.contains(&address) => {
                return Err(EngineError::Forbidden(format!("address {address} is already in use")));
            }
            Some(address) => address,
            None => subnet
                .hosts()
                .find(|address| !taken.contains(address))
                .ok_or_else(|| EngineError::Failed(format!("no address is free in {subnet}")))?,
        };
        let [_, _, c, d] = address.octets();
        let [a, b, ..] = address.octets();
        let mac = format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        Ok(Endpoint {
            network: network.name.clone(),
            network_id: network.id.clone(),
            endpoint_id: new_id(),
            bridge: network.bridge.clone(),
            address: address.to_string(),
            prefix: subnet.prefix,
            gateway: gateway.to_string(),
            mac: if wanted.mac.is_empty() { mac } else { wanted.mac.clone() },
            aliases: wanted.aliases.clone(),
            has_dns: !is_predefined(&network.name),
            internal: network.internal,
            mtu: network
                .options
                .get("com.docker.network.driver.mtu")
                .and_then(|mtu| mtu.parse().ok())
                .unwrap_or(0),
        })
    }

    /// Answers questions for names, and keeps the rules of the firewall as the containers want them.
    pub(crate) fn serve(&self, shared: &Arc<Shared>) {
        for network in self.all().iter().filter(|network| !is_predefined(&network.name)) {
            self.serve_names(shared, network);
        }
        let (weak, changed) = (Arc::downgrade(shared), Arc::clone(&self.changed));
        tokio::spawn(async move {
            loop {
                changed.notified().await;
                let Some(shared) = weak.upgrade() else { return };
                if let Err(error) = shared.networks.apply(&shared).await {
                    eprintln!("publishing ports: {error}");
                }
            }
        });
    }

    /// Answers questions for names in a network that clients made.
    pub(crate) fn serve_names(&self, shared: &Arc<Shared>, network: &Network) {
        if let Some(gateway) = network.gateway {
            self.dns.serve(gateway, &network.id, shared);
        }
    }

    /// The rules of the firewall are to be looked at again.
    pub(crate) fn apply_soon(&self) {
        self.changed.notify_one();
    }

    /// Makes the rules of the firewall what the running containers want.
    pub(crate) async fn apply(&self, shared: &Arc<Shared>) -> Result<(), EngineError> {
        let _only = self.applying.lock().await;
        let rules = firewall::rules(&self.all(), &shared.table.all());
        blocking(move || Ok(firewall::apply(&rules)?)).await
    }
}

/// What a client wants of a place.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) mac: String,
    pub(crate) aliases: Vec<String>,
}

/// The containers in a network with their places.
pub(crate) fn members<'a>(
    network: &Network,
    containers: &'a [Arc<Snapshot>],
) -> impl Iterator<Item = (&'a Snapshot, &'a Endpoint)> {
    let id = network.id.clone();
    containers.iter().filter_map(move |container| {
        let place = container.spec.endpoints.iter().find(|endpoint| endpoint.network_id == id)?;
        Some((&**container, place))
    })
}

/// Is it one of the three that are always there?
pub(crate) fn is_predefined(name: &str) -> bool {
    ["bridge", "host", "none"].contains(&name)
}

fn file() -> PathBuf {
    Path::new(paths::STORE).join("networks.json")
}

fn save(known: &[Network]) -> anyhow::Result<()> {
    let made: Vec<&Network> = known.iter().filter(|network| !is_predefined(&network.name)).collect();
    durable::write_json(&file(), &made)
}

fn predefined() -> [Network; 3] {
    let network = |name: &str, driver: &str| Network {
        // The same at each boot: containers of earlier ones know it.
        id: digest(name.as_bytes()).trim_start_matches("sha256:").to_owned(),
        name: name.to_owned(),
        driver: driver.to_owned(),
        created: "1970-01-01T00:00:00Z".to_owned(),
        internal: false,
        attachable: false,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        bridge: String::new(),
        subnet: None,
        gateway: None,
    };
    let bridge = Network {
        bridge: DEFAULT_BRIDGE.to_owned(),
        subnet: DEFAULT_SUBNET.parse().ok(),
        gateway: Some(DEFAULT_GATEWAY),
        ..network("bridge", "bridge")
    };
    [bridge, network("host", "host"), network("none", "null")]
}

/// The bridge of a network that is gone. One that was never used is not there.
async fn remove_bridge(name: &str) {
    use futures_util::TryStreamExt;
    let Ok((connection, handle, _)) = rtnetlink::new_connection() else { return };
    tokio::spawn(connection);
    let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    if let Ok(Some(link)) = found
        && let Err(error) = handle.link().del(link.header.index).execute().await
    {
        eprintln!("removing {name}: {error}");
    }
}
