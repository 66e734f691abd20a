//! All networks: what clients make and remove, and the endpoints that containers get in them.

use super::record::{self, Network, is_predefined, members};
use super::{dns, firewall, loopback, subnet};
use crate::blocking::blocking;
use crate::table::Table;
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::identity;
use corral_engine::spec::{Endpoint, EndpointRequest, EndpointV6, MacAddress, Snapshot};
use corral_engine::time;
use ipnet::{Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// In Docker's words.
const OVERLAP: &str = "Pool overlaps with other one on this address space";

/// What a client requests of a new network.
#[derive(Debug, Default)]
pub(crate) struct NetworkCreate {
    pub(crate) name: String,
    pub(crate) internal: bool,
    pub(crate) attachable: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) has_v6: bool,
    /// None: unique local addresses of its own.
    pub(crate) subnet_v6: Option<Ipv6Net>,
    pub(crate) gateway_v6: Option<Ipv6Addr>,
    /// Addresses that containers get without naming one.
    pub(crate) range: Option<Ipv4Net>,
    pub(crate) range_v6: Option<Ipv6Net>,
    /// Addresses that no container gets.
    pub(crate) reserved: BTreeMap<String, IpAddr>,
}

/// All networks.
#[derive(Debug)]
pub(crate) struct Networks {
    known: Mutex<Vec<Network>>,
    /// Addresses are given out one at a time, until PID 1 knows the container that has one.
    pub(crate) allocation: tokio::sync::Mutex<()>,
    changed: Arc<Notify>,
    /// One change of the firewall at a time.
    applying: tokio::sync::Mutex<()>,
    dns: dns::Servers,
    proxies: loopback::Proxies,
    /// Rules for IPv6 were applied, maybe by an earlier daemon.
    had_v6: AtomicBool,
}

impl Networks {
    /// All that there are when the daemon starts.
    pub(crate) fn load() -> Networks {
        Networks {
            known: Mutex::new(record::load()),
            allocation: tokio::sync::Mutex::default(),
            changed: Arc::default(),
            applying: tokio::sync::Mutex::default(),
            dns: dns::Servers::default(),
            proxies: loopback::Proxies::default(),
            had_v6: AtomicBool::new(true),
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
        identity::find(
            known.iter(),
            name,
            |network| (network.id.as_str(), network.name.as_str()),
            |name| EngineError::NotFound(format!("network {name} not found")),
        )
        .cloned()
    }

    /// Makes a bridge network.
    pub(crate) fn create(&self, wanted: NetworkCreate) -> Result<Network, EngineError> {
        let mut known = self.lock();
        if known.iter().any(|network| network.name == wanted.name) {
            return Err(EngineError::Conflict(format!(
                "network with name {} already exists",
                wanted.name
            )));
        }
        let (subnet, gateway) = choose_v4(&known, &wanted)?;
        let id = new_id();
        let v6 = choose_v6(&known, &wanted, &id)?;
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
            subnet_v6: v6.map(|(subnet, _)| subnet),
            gateway_v6: v6.map(|(_, gateway)| gateway),
            range: wanted.range,
            range_v6: wanted.range_v6,
            reserved: wanted.reserved,
        };
        known.push(network.clone());
        record::save(&known)?;
        Ok(network)
    }

    /// Removes a network without endpoints; its bridge goes too.
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
        let users: Vec<&str> = members(network, containers)
            .map(|(container, _)| container.spec.name.as_str())
            .collect();
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
            record::save(&known)?;
        }
        if let Some(gateway) = network.gateway {
            self.dns.forget(gateway);
        }
        remove_bridge(&network.bridge).await;
        self.changed.notify_one();
        Ok(())
    }

    /// An endpoint in a network for a container. Hold `allocation` until PID 1 knows of it.
    pub(crate) fn allocate(
        &self,
        network: &Network,
        containers: &[Arc<Snapshot>],
        wanted: &EndpointSettings,
    ) -> Result<Endpoint, EngineError> {
        let (address, prefix, gateway) = address_v4(network, containers, wanted.address)?;
        let v6 = address_v6(network, containers, wanted.address_v6)?;
        let [a, b, c, d] = address.octets();
        Ok(Endpoint {
            network: network.name.clone(),
            network_id: network.id.clone(),
            endpoint_id: new_id(),
            bridge: network.bridge.clone(),
            address,
            prefix,
            gateway,
            mac: wanted.mac.unwrap_or(MacAddress([0x02, 0x42, a, b, c, d])),
            aliases: wanted.aliases.clone(),
            has_dns: !is_predefined(&network.name),
            internal: network.internal,
            mtu: network
                .options
                .get("com.docker.network.driver.mtu")
                .and_then(|mtu| mtu.parse().ok())
                .unwrap_or(0),
            v6,
            links: wanted.links.clone(),
            requested: EndpointRequest {
                address: wanted.address,
                address_v6: wanted.address_v6,
                driver_options: wanted.driver_options.clone(),
            },
        })
    }

    /// Answers DNS queries, and keeps the rules of the firewall as the running containers need
    /// them.
    pub(crate) fn serve(self: &Arc<Networks>, table: &Table) {
        for network in self.all().iter().filter(|network| !is_predefined(&network.name)) {
            self.serve_names(table, network);
        }
        let (weak, changed) = (Arc::downgrade(self), Arc::clone(&self.changed));
        let table = table.clone();
        tokio::spawn(async move {
            loop {
                changed.notified().await;
                let Some(networks) = weak.upgrade() else { return };
                if let Err(error) = networks.apply(&table).await {
                    eprintln!("publishing ports: {error}");
                }
            }
        });
    }

    /// Answers questions for names in a network that clients made.
    pub(crate) fn serve_names(&self, table: &Table, network: &Network) {
        if let Some(gateway) = network.gateway {
            self.dns.serve(gateway, &network.id, table);
        }
    }

    /// The rules of the firewall are to be looked at again.
    pub(crate) fn apply_soon(&self) {
        self.changed.notify_one();
    }

    /// Makes the rules of the firewall what the running containers need.
    pub(crate) async fn apply(&self, table: &Table) -> Result<(), EngineError> {
        let _only = self.applying.lock().await;
        let (networks, containers) = (self.all(), table.all());
        self.proxies.apply(&loopback::routes(&networks, &containers));
        let rules = firewall::rules(&networks, &containers);
        let had_v6 = self.had_v6.swap(rules.has_v6(), Ordering::Relaxed);
        blocking(move || Ok(firewall::apply(&rules, had_v6)?)).await
    }
}

/// What a client requests of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct EndpointSettings {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) aliases: Vec<String>,
    pub(crate) address_v6: Option<Ipv6Addr>,
    /// (container, alias).
    pub(crate) links: Vec<(String, String)>,
    pub(crate) driver_options: BTreeMap<String, String>,
}

/// The IPv4 subnet and gateway of a new network.
fn choose_v4(
    known: &[Network],
    wanted: &NetworkCreate,
) -> Result<(Ipv4Net, Ipv4Addr), EngineError> {
    let mut others = known.iter().filter_map(|network| network.subnet);
    let subnet = match wanted.subnet {
        Some(subnet) => {
            let subnet = subnet::with_room(subnet).map_err(EngineError::BadRequest)?;
            if others.any(|other| subnet::overlap(&other, &subnet)) {
                return Err(EngineError::Forbidden(OVERLAP.to_owned()));
            }
            subnet
        }
        None => {
            let taken: Vec<Ipv4Net> = others.chain(subnet::of_host()).collect();
            subnet::free(&taken).ok_or_else(|| {
                EngineError::Failed("no free address range: set a subnet".to_owned())
            })?
        }
    };
    let first = subnet.hosts().next().unwrap_or_else(|| subnet.addr());
    let gateway = wanted.gateway.unwrap_or(first);
    if !subnet.contains(&gateway) {
        return Err(EngineError::BadRequest(format!("the gateway {gateway} is not in {subnet}")));
    }
    Ok((subnet, gateway))
}

/// The IPv6 subnet and gateway of a new network, if it has any.
fn choose_v6(
    known: &[Network],
    wanted: &NetworkCreate,
    id: &str,
) -> Result<Option<(Ipv6Net, Ipv6Addr)>, EngineError> {
    if !wanted.has_v6 {
        return Ok(None);
    }
    let subnet = wanted.subnet_v6.or_else(|| subnet::unique_local(id));
    let subnet = subnet.ok_or_else(|| EngineError::Failed("no IPv6 subnet is free".to_owned()))?;
    let subnet = subnet::with_room_v6(subnet).map_err(EngineError::BadRequest)?;
    let mut others = known.iter().filter_map(|network| network.subnet_v6);
    if others.any(|other| subnet::overlap_v6(&other, &subnet)) {
        return Err(EngineError::Forbidden(OVERLAP.to_owned()));
    }
    let first = Ipv6Addr::from_bits(subnet.addr().to_bits() + 1);
    let gateway = wanted.gateway_v6.unwrap_or(first);
    if !subnet.contains(&gateway) {
        return Err(EngineError::BadRequest(format!("the gateway {gateway} is not in {subnet}")));
    }
    Ok(Some((subnet, gateway)))
}

/// An address for a new endpoint: the requested one, or the first of `hosts` that is not taken.
fn choose_address<A: Copy + Ord + fmt::Display>(
    requested: Option<A>,
    mut hosts: impl Iterator<Item = A>,
    taken: &BTreeSet<A>,
    subnet: &impl fmt::Display,
    is_inside: impl Fn(&A) -> bool,
) -> Result<A, EngineError> {
    match requested {
        Some(address) if !is_inside(&address) => {
            Err(EngineError::BadRequest(format!("{address} is not in {subnet}")))
        }
        Some(address) if taken.contains(&address) => {
            Err(EngineError::Forbidden("Address already in use".to_owned()))
        }
        Some(address) => Ok(address),
        None => hosts
            .find(|address| !taken.contains(address))
            .ok_or_else(|| EngineError::Failed(format!("no free address in {subnet}"))),
    }
}

/// The IPv4 side of a new endpoint: address, length of the prefix, gateway.
fn address_v4(
    network: &Network,
    containers: &[Arc<Snapshot>],
    wanted: Option<Ipv4Addr>,
) -> Result<(Ipv4Addr, u8, Ipv4Addr), EngineError> {
    let (Some(subnet), Some(gateway)) = (network.subnet, network.gateway) else {
        return Err(EngineError::BadRequest(format!("network {} has no addresses", network.name)));
    };
    let taken: BTreeSet<Ipv4Addr> = members(network, containers)
        .map(|(_, endpoint)| endpoint.address)
        .chain([gateway])
        .chain(network.reserved_v4())
        .collect();
    let is_inside = |address: &Ipv4Addr| subnet.contains(address);
    let in_range = |address: &Ipv4Addr| network.range.is_none_or(|range| range.contains(address));
    let hosts = subnet.hosts().filter(in_range);
    let address = choose_address(wanted, hosts, &taken, &subnet, is_inside)?;
    Ok((address, subnet.prefix_len(), gateway))
}

/// The IPv6 side of a new endpoint.
fn address_v6(
    network: &Network,
    containers: &[Arc<Snapshot>],
    wanted: Option<Ipv6Addr>,
) -> Result<Option<EndpointV6>, EngineError> {
    let (Some(subnet), Some(gateway)) = (network.subnet_v6, network.gateway_v6) else {
        return match wanted {
            Some(address) => Err(EngineError::BadRequest(format!(
                "network {} has no IPv6 for {address}: create it with --ipv6",
                network.name
            ))),
            None => Ok(None),
        };
    };
    let taken: BTreeSet<Ipv6Addr> = members(network, containers)
        .filter_map(|(_, endpoint)| endpoint.v6.map(|v6| v6.address))
        .chain([gateway, subnet.addr()])
        .chain(network.reserved_v6())
        .collect();
    let is_inside = |address: &Ipv6Addr| subnet.contains(address);
    let hosts = network.range_v6.unwrap_or(subnet).hosts();
    let address = choose_address(wanted, hosts, &taken, &subnet, is_inside)?;
    Ok(Some(EndpointV6 { address, prefix: subnet.prefix_len(), gateway }))
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
