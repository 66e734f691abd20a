//! The endpoints of a container in networks, and the ports that it publishes, as clients request
//! them.

use super::links;
use crate::network::networks::EndpointSettings;
use crate::shared::Shared;
use bollard_stubs::models::{
    ContainerCreateBody, EndpointSettings as Requested, NetworkingConfig, PortBinding,
};
use corral_engine::error::EngineError;
use corral_engine::spec::{ContainerSpec, Endpoint, MacAddress, NotAMacAddress, Port};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a client requests of the networks of a new container.
pub(super) struct NetworkRequest {
    mode: String,
    endpoints: NetworkingConfig,
    links: Vec<String>,
    /// Of the first endpoint.
    mac: Option<MacAddress>,
}

impl NetworkRequest {
    pub(super) fn parse(
        requested: &Value,
        body: &ContainerCreateBody,
    ) -> Result<NetworkRequest, EngineError> {
        let host = body.host_config.clone().unwrap_or_default();
        // Clients before API 1.44 set it beside the endpoints.
        let mac = requested["MacAddress"].as_str().filter(|text| !text.is_empty());
        Ok(NetworkRequest {
            mode: host.network_mode.unwrap_or_default(),
            endpoints: body.networking_config.clone().unwrap_or_default(),
            links: host.links.unwrap_or_default(),
            mac: mac.map(parse_mac).transpose()?,
        })
    }

    /// Gives it its endpoints.
    pub(super) fn connect(
        &self,
        shared: &Shared,
        spec: &mut ContainerSpec,
    ) -> Result<(), EngineError> {
        connect(shared, spec, &self.mode, &self.endpoints)?;
        if let (Some(mac), Some(first)) = (self.mac, spec.endpoints.first_mut()) {
            first.mac = mac;
        }
        links::connect(shared, spec, &self.links)?;
        check_published(spec)
    }
}

type Bindings = HashMap<String, Option<Vec<PortBinding>>>;

/// `80/tcp` → published ports; a host port of 0 is chosen later.
pub(super) fn published(
    bindings: &Bindings,
    publish_all: bool,
    exposed: &BTreeSet<String>,
) -> Result<Vec<Port>, EngineError> {
    let mut ports = Vec::new();
    let split = |key: &str| -> Result<(u16, String), EngineError> {
        let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        let wrong = || EngineError::BadRequest(format!("invalid port {key:?}: such as 80/tcp"));
        if !["tcp", "udp"].contains(&protocol) {
            return Err(wrong());
        }
        Ok((port.parse().map_err(|_| wrong())?, protocol.to_owned()))
    };
    for (key, list) in bindings {
        let (container_port, protocol) = split(key)?;
        for binding in list.iter().flatten() {
            let text = binding.host_port.clone().unwrap_or_default();
            let host_port = match text.as_str() {
                "" => 0,
                text => text
                    .parse()
                    .map_err(|_| EngineError::BadRequest(format!("invalid host port {text:?}")))?,
            };
            let host_ip = binding.host_ip.clone().unwrap_or_default();
            ports.push(Port { host_ip, host_port, container_port, protocol: protocol.clone() });
        }
    }
    if publish_all {
        for key in exposed {
            let (container_port, protocol) = split(key)?;
            if !ports
                .iter()
                .any(|port| port.container_port == container_port && port.protocol == protocol)
            {
                ports.push(Port { container_port, protocol, ..Port::default() });
            }
        }
    }
    ports.sort_by_key(|port| (port.container_port, port.protocol.clone()));
    Ok(ports)
}

/// Gives it its endpoints in networks.
fn connect(
    shared: &Shared,
    spec: &mut ContainerSpec,
    mode: &str,
    config: &NetworkingConfig,
) -> Result<(), EngineError> {
    match mode {
        "host" => {
            spec.host_network = true;
            return Ok(());
        }
        "none" => return Ok(()),
        mode => {
            if let Some(name) = mode.strip_prefix("container:") {
                spec.network_of = shared.find(name)?.id.clone();
                return Ok(());
            }
        }
    }
    let first = if ["", "default", "bridge"].contains(&mode) { "bridge" } else { mode };
    let requested = config.endpoints_config.clone().unwrap_or_default();
    let mut names = vec![first.to_owned()];
    names.extend(
        requested
            .keys()
            .filter(|name| *name != first && !(first == "bridge" && *name == "default"))
            .cloned(),
    );
    let containers = shared.table.all();
    for name in names {
        let network = shared.networks.find(&name)?;
        // Clients call the default bridge so where they name no network.
        let is_default = name == "bridge";
        let requested =
            requested.get(&name).or_else(|| requested.get("default").filter(|_| is_default));
        let requested = requested.cloned().unwrap_or_default();
        let settings = endpoint_settings(&requested)?;
        spec.endpoints.push(shared.networks.allocate(&network, &containers, &settings)?);
    }
    Ok(())
}

/// The settings of a client's request for a container's endpoint in a network.
pub(super) fn endpoint_settings(requested: &Requested) -> Result<EndpointSettings, EngineError> {
    let address = requested
        .ipam_config
        .as_ref()
        .and_then(|ipam| ipam.ipv4_address.clone())
        .filter(|text| !text.is_empty());
    let address: Option<Ipv4Addr> = address
        .map(|text| {
            text.parse()
                .map_err(|_| EngineError::BadRequest(format!("{text:?} is not an IPv4 address")))
        })
        .transpose()?;
    let mut aliases = requested.aliases.clone().unwrap_or_default();
    aliases.dedup();
    let mac = requested.mac_address.as_deref().filter(|text| !text.is_empty());
    let mac = mac.map(parse_mac).transpose()?;
    let links = requested.links.iter().flatten().map(|text| links::parse(text));
    let driver_options = requested.driver_opts.clone().unwrap_or_default();
    Ok(EndpointSettings {
        address,
        mac,
        aliases,
        address_v6: address_v6(requested)?,
        links: links.collect::<Result<_, _>>()?,
        driver_options: driver_options.into_iter().collect(),
    })
}

fn parse_mac(text: &str) -> Result<MacAddress, EngineError> {
    text.parse().map_err(|error: NotAMacAddress| EngineError::BadRequest(error.to_string()))
}

fn address_v6(requested: &Requested) -> Result<Option<Ipv6Addr>, EngineError> {
    let Some(ipam) = &requested.ipam_config else { return Ok(None) };
    if ipam.link_local_ips.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(EngineError::NotImplemented(
            "the system engine has no link-local addresses of endpoints".to_owned(),
        ));
    }
    let text = ipam.ipv6_address.as_deref().filter(|text| !text.is_empty());
    let wrong = |text| EngineError::BadRequest(format!("{text:?} is not an IPv6 address"));
    text.map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}

/// A new endpoint of a container that is there.
pub(super) fn allocate(
    shared: &Shared,
    network: &str,
    settings: &EndpointSettings,
) -> Result<Endpoint, EngineError> {
    let network = shared.networks.find(network)?;
    shared.networks.allocate(&network, &shared.table.all(), settings)
}

/// A port of an IPv6 address is published only for a container that has IPv6.
fn check_published(spec: &ContainerSpec) -> Result<(), EngineError> {
    for port in &spec.ports {
        let Ok(address) = port.host_ip.parse::<IpAddr>() else { continue };
        let has_v6 = spec.endpoints.iter().any(|endpoint| endpoint.v6.is_some());
        if address.is_ipv6() && !address.is_loopback() && !address.is_unspecified() && !has_v6 {
            return Err(EngineError::BadRequest(format!(
                "publishing a port on {address}: the container is in no network with IPv6"
            )));
        }
    }
    Ok(())
}
