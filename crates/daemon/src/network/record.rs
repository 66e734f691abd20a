//! What a network is, the three that are always there, and the file that keeps the others over a
//! boot.

use super::subnet;
use anyhow::Context;
use corral_engine::durable;
use corral_engine::image::digest::digest;
use corral_engine::paths;
use corral_engine::spec::{Endpoint, Snapshot};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The bridge of containers that name no network, as in RancherOS.
const DEFAULT_BRIDGE: &str = "docker-sys";
const DEFAULT_SUBNET: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 0);
const DEFAULT_PREFIX: u8 = 16;
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
    #[serde(with = "subnet::kept")]
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) gateway: Option<Ipv4Addr>,
    /// In a network that has IPv6, as the next one.
    #[serde(default)]
    pub(crate) subnet_v6: Option<Ipv6Net>,
    #[serde(default)]
    pub(crate) gateway_v6: Option<Ipv6Addr>,
    /// Addresses that containers get without naming one; None: of the complete subnet.
    #[serde(default)]
    pub(crate) range: Option<Ipv4Net>,
    #[serde(default)]
    pub(crate) range_v6: Option<Ipv6Net>,
    /// Addresses that other hosts of the network have, by their names.
    #[serde(default)]
    pub(crate) reserved: BTreeMap<String, IpAddr>,
}

impl Network {
    pub(super) fn reserved_v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.reserved.values().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }

    pub(super) fn reserved_v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.reserved.values().filter_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        })
    }
}

/// The containers in a network with their endpoints.
pub(crate) fn members<'a>(
    network: &Network,
    containers: &'a [Arc<Snapshot>],
) -> impl Iterator<Item = (&'a Snapshot, &'a Endpoint)> {
    let id = network.id.clone();
    containers.iter().filter_map(move |container| {
        let endpoint =
            container.spec.endpoints.iter().find(|endpoint| endpoint.network_id == id)?;
        Some((&**container, endpoint))
    })
}

/// The endpoint that the published ports of a container lead to: its first in one of these networks
/// that is not internal.
pub(super) fn published<'a>(
    container: &'a Snapshot,
    networks: &[&Network],
) -> Option<&'a Endpoint> {
    let leads_out = |endpoint: &&Endpoint| {
        networks.iter().any(|network| network.id == endpoint.network_id && !network.internal)
    };
    container.spec.endpoints.iter().find(leads_out)
}

/// Is it one of the three that are always there?
pub(crate) fn is_predefined(name: &str) -> bool {
    ["bridge", "host", "none"].contains(&name)
}

fn file() -> PathBuf {
    Path::new(paths::STORE).join("networks.json")
}

/// Where an unreadable file is kept: the next change of the networks must not replace it.
fn damaged_file() -> PathBuf {
    Path::new(paths::STORE).join("networks.json.damaged")
}

/// What `ros why` reports about such a file.
pub(crate) fn damaged() -> Option<String> {
    let file = damaged_file();
    file.exists()
        .then(|| format!("the networks that clients created: {} could not be read", file.display()))
}

/// Those of earlier boots, and the three that are always there.
pub(super) fn load() -> Vec<Network> {
    let mut known = read().unwrap_or_else(|error| {
        eprintln!("{error:#}; it is kept as {}", damaged_file().display());
        if let Err(error) = fs::rename(file(), damaged_file()) {
            eprintln!("renaming it: {error}");
        }
        Vec::new()
    });
    known.splice(0..0, predefined());
    known
}

fn read() -> anyhow::Result<Vec<Network>> {
    match fs::read(file()) {
        Ok(text) => {
            serde_json::from_slice(&text).with_context(|| format!("reading {}", file().display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", file().display())),
    }
}

pub(super) fn save(known: &[Network]) -> anyhow::Result<()> {
    let made: Vec<&Network> =
        known.iter().filter(|network| !is_predefined(&network.name)).collect();
    durable::write_json(&file(), &made)
}

pub(super) fn predefined() -> [Network; 3] {
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
        subnet_v6: None,
        gateway_v6: None,
        range: None,
        range_v6: None,
        reserved: BTreeMap::new(),
    };
    let bridge = Network {
        bridge: DEFAULT_BRIDGE.to_owned(),
        subnet: Ipv4Net::new(DEFAULT_SUBNET, DEFAULT_PREFIX).ok(),
        gateway: Some(DEFAULT_GATEWAY),
        ..network("bridge", "bridge")
    };
    [bridge, network("host", "host"), network("none", "null")]
}
