//! `/networks`.

use super::endpoints;
use super::error::ApiError;
use super::query::{Filters, Parameters, Parts, id_of, parse};
use super::state::State;
use crate::blocking::blocking;
use crate::network::networks::NetworkCreate;
use crate::network::record::{Network, is_predefined, members};
use crate::network::subnet;
use crate::shared::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bollard_stubs::models::{
    IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use corral_engine::error::EngineError;
use corral_engine::protocol::Request;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) async fn list(
    state: State,
    parameters: Parameters,
) -> Result<Json<Vec<Value>>, ApiError> {
    let filters = Filters::parse(
        &parameters,
        &["dangling", "driver", "id", "label", "name", "scope", "type"],
    )?;
    let containers = state.table.all();
    let fits = |network: &&Network| {
        let unused =
            members(network, &containers).next().is_none() && !is_predefined(&network.name);
        filters.any("name", |name| network.name.contains(name))
            && filters.any("id", |id| network.id.starts_with(id))
            && filters.any("driver", |driver| network.driver == driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |kind| (kind == "builtin") == is_predefined(&network.name))
            && filters.any("dangling", |word| ["1", "true"].contains(&word) == unused)
            && filters.labels(|key| network.labels.get(key).map(String::as_str))
    };
    Ok(Json(state.networks.all().iter().filter(fits).map(|network| view(network, None)).collect()))
}

/// A network; with the containers in it if they are given.
fn view(network: &Network, shared: Option<&Shared>) -> Value {
    let mut inside = Map::new();
    if let Some(shared) = shared {
        let containers = shared.table.all();
        for (container, endpoint) in
            members(network, &containers).filter(|(container, _)| container.status.is_up())
        {
            let v6 = endpoint.v6.map(|v6| format!("{}/{}", v6.address, v6.prefix));
            inside.insert(
                container.id.clone(),
                json!({
                    "Name": container.spec.name, "EndpointID": endpoint.endpoint_id,
                    "MacAddress": endpoint.mac,
                    "IPv4Address": format!("{}/{}", endpoint.address, endpoint.prefix),
                    "IPv6Address": v6.unwrap_or_default(),
                }),
            );
        }
    }
    let mut options = network.options.clone();
    if network.name == "bridge" {
        options.insert("com.docker.network.bridge.name".to_owned(), network.bridge.clone());
        options.insert("com.docker.network.bridge.default_bridge".to_owned(), "true".to_owned());
    }
    json!({
        "Name": network.name, "Id": network.id, "Created": network.created, "Scope": "local",
        "Driver": network.driver, "EnableIPv6": network.subnet_v6.is_some(),
        "IPAM": {"Driver": "default", "Options": null, "Config": ranges_view(network)},
        "Internal": network.internal, "Attachable": network.attachable, "Ingress": false,
        "ConfigFrom": {"Network": ""}, "ConfigOnly": false, "Containers": inside,
        "Options": options, "Labels": network.labels,
    })
}

pub(super) async fn inspect(state: State, parts: Parts) -> Result<Json<Value>, ApiError> {
    let network = state.networks.find(id_of(&parts))?;
    Ok(Json(view(&network, Some(&state.0))))
}

pub(super) async fn make(state: State, body: Bytes) -> Result<Response, ApiError> {
    let body: NetworkCreateRequest = parse(&body)?;
    let driver = body.driver.clone().unwrap_or_default();
    if !["", "bridge", "default"].contains(&driver.as_str()) {
        return Err(EngineError::NotImplemented(format!(
            "network driver {driver} is not supported: use bridge, host or none"
        ))
        .into());
    }
    if body.name.is_empty() || is_predefined(&body.name) {
        return Err(EngineError::BadRequest(format!(
            "{:?} is not a valid network name",
            body.name
        ))
        .into());
    }
    let ranges = ranges(&body)?;
    let wanted = NetworkCreate {
        name: body.name,
        internal: body.internal.unwrap_or(false),
        attachable: body.attachable.unwrap_or(false),
        labels: body.labels.unwrap_or_default().into_iter().collect(),
        options: body.options.unwrap_or_default().into_iter().collect(),
        has_v6: body.enable_ipv6 == Some(true),
        ..ranges
    };
    let shared = Arc::clone(&state.0);
    let network = blocking(move || shared.networks.create(wanted)).await?;
    state.networks.serve_names(&state.table, &network);
    emit(&state.0, "create", &network, None);
    Ok((StatusCode::CREATED, Json(json!({"Id": network.id, "Warning": ""}))).into_response())
}

/// The subnets of a network, as the client gave them.
fn ranges_view(network: &Network) -> Vec<Value> {
    let of_v4 = network.subnet.map(|subnet| {
        let (gateway, range) = (network.gateway.map(IpAddr::V4), network.range.map(IpNet::V4));
        range_view(network, IpNet::V4(subnet), gateway, range)
    });
    let of_v6 = network.subnet_v6.map(|subnet| {
        let (gateway, range) =
            (network.gateway_v6.map(IpAddr::V6), network.range_v6.map(IpNet::V6));
        range_view(network, IpNet::V6(subnet), gateway, range)
    });
    of_v4.into_iter().chain(of_v6).collect()
}

fn range_view(
    network: &Network,
    subnet: IpNet,
    gateway: Option<IpAddr>,
    range: Option<IpNet>,
) -> Value {
    let mut shown = json!({"Subnet": subnet, "Gateway": gateway});
    if let Some(range) = range {
        shown["IPRange"] = json!(range);
    }
    let reserved: Map<String, Value> = network
        .reserved
        .iter()
        .filter(|(_, address)| subnet.contains(*address))
        .map(|(name, address)| (name.clone(), json!(address)))
        .collect();
    if !reserved.is_empty() {
        shown["AuxiliaryAddresses"] = Value::Object(reserved);
    }
    shown
}

/// The subnets that a client requests, one of each family, with the requested addresses.
fn ranges(body: &NetworkCreateRequest) -> Result<NetworkCreate, EngineError> {
    let mut found = NetworkCreate::default();
    let ipam = body.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    for requested in ipam.into_iter().flatten() {
        add_range(&mut found, requested)?;
    }
    if found.subnet_v6.is_some() && body.enable_ipv6 != Some(true) {
        return Err(EngineError::BadRequest(
            "an IPv6 subnet needs EnableIPv6 (docker network create --ipv6)".to_owned(),
        ));
    }
    Ok(found)
}

fn add_range(found: &mut NetworkCreate, requested: &IpamConfig) -> Result<(), EngineError> {
    let wrong = |text: &str| EngineError::BadRequest(format!("{text:?} is not an IP address"));
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| wrong(text));
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let network = |text: Option<String>| text.as_deref().map(subnet::parse).transpose();
    let gateway = given(&requested.gateway).as_deref().map(address).transpose()?;
    let subnet = network(given(&requested.subnet)).map_err(EngineError::BadRequest)?;
    let range = network(given(&requested.ip_range)).map_err(EngineError::BadRequest)?;
    for (name, text) in requested.auxiliary_addresses.iter().flatten() {
        found.reserved.insert(name.clone(), address(text)?);
    }
    if let (Some(subnet), Some(range)) = (subnet, range)
        && !subnet.contains(&range)
    {
        return Err(EngineError::BadRequest(format!("the range {range} is not in {subnet}")));
    }
    let is_v6 = matches!(subnet, Some(IpNet::V6(_)));
    if gateway.is_some_and(|gateway| gateway.is_ipv6() != is_v6)
        || range.is_some_and(|range| subnet.is_none() || matches!(range, IpNet::V6(_)) != is_v6)
    {
        return Err(EngineError::BadRequest(
            "a gateway and a range of addresses belong to a subnet of their family".to_owned(),
        ));
    }
    match subnet {
        Some(IpNet::V4(subnet)) => found.subnet = Some(subnet),
        Some(IpNet::V6(subnet)) => found.subnet_v6 = Some(subnet),
        None => {}
    }
    match gateway {
        Some(IpAddr::V4(gateway)) => found.gateway = Some(gateway),
        Some(IpAddr::V6(gateway)) => found.gateway_v6 = Some(gateway),
        None => {}
    }
    match range {
        Some(IpNet::V4(range)) => found.range = Some(range),
        Some(IpNet::V6(range)) => found.range_v6 = Some(range),
        None => {}
    }
    Ok(())
}

fn emit(shared: &Shared, action: &str, network: &Network, container: Option<&str>) {
    let mut attributes = json!({"name": network.name, "type": network.driver});
    if let Some(container) = container {
        attributes["container"] = json!(container);
    }
    shared.bus.emit("network", action, &network.id, attributes);
}

pub(super) async fn remove(state: State, parts: Parts) -> Result<StatusCode, ApiError> {
    let network = state.networks.find(id_of(&parts))?;
    state.networks.remove(&network, &state.table.all()).await?;
    emit(&state.0, "destroy", &network, None);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(state: State, parameters: Parameters) -> Result<Json<Value>, ApiError> {
    let filters = Filters::parse(&parameters, &["until", "label", "label!"])?;
    let mut removed = Vec::new();
    for network in state.networks.all() {
        let containers = state.table.all();
        let is_used = members(&network, &containers).next().is_some();
        let fits = filters.labels(|key| network.labels.get(key).map(String::as_str));
        if !is_used
            && fits
            && !is_predefined(&network.name)
            && state.networks.remove(&network, &containers).await.is_ok()
        {
            removed.push(network.name.clone());
        }
    }
    Ok(Json(json!({"NetworksDeleted": removed})))
}

pub(super) async fn connect(
    state: State,
    parts: Parts,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let body: NetworkConnectRequest = parse(&body)?;
    let network = state.networks.find(id_of(&parts))?;
    let container = state.find(&body.container)?;
    if container.spec.host_network {
        return Err(EngineError::Forbidden(
            "a container with host networking cannot be connected to another network".to_owned(),
        )
        .into());
    }
    let settings = endpoints::endpoint_settings(&body.endpoint_config.unwrap_or_default())?;
    let _allocation = state.networks.allocation.lock().await;
    let endpoint = endpoints::allocate(&state.0, &network.name, &settings)?;
    state
        .call(Request::Connect { container: container.id.clone(), endpoint: Box::new(endpoint) })
        .await?;
    state.networks.apply_soon();
    emit(&state.0, "connect", &network, Some(&container.id));
    Ok(StatusCode::OK)
}

pub(super) async fn disconnect(
    state: State,
    parts: Parts,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let body: NetworkDisconnectRequest = parse(&body)?;
    let network = state.networks.find(id_of(&parts))?;
    let container = state.find(&body.container)?;
    state
        .call(Request::Disconnect { container: container.id.clone(), network: network.id.clone() })
        .await?;
    state.networks.apply_soon();
    emit(&state.0, "disconnect", &network, Some(&container.id));
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(v6: bool, config: Value) -> Result<NetworkCreate, EngineError> {
        let body = json!({"Name": "n", "EnableIPv6": v6, "IPAM": {"Config": config}});
        ranges(&serde_json::from_value(body).unwrap())
    }

    #[test]
    fn a_network_has_a_subnet_of_each_family() {
        let config = json!([
            {"Subnet": "10.1.0.0/16", "IPRange": "10.1.5.0/24", "Gateway": "10.1.5.254",
                "AuxiliaryAddresses": {"router": "10.1.0.9"}},
            {"Subnet": "fd00::/64"},
        ]);
        let found = read(true, config.clone()).unwrap();
        assert_eq!(found.subnet.unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(found.range.unwrap().to_string(), "10.1.5.0/24");
        assert_eq!(found.gateway.unwrap().to_string(), "10.1.5.254");
        assert_eq!(found.subnet_v6.unwrap().to_string(), "fd00::/64");
        assert_eq!(found.reserved["router"].to_string(), "10.1.0.9");
        assert!(read(false, config).is_err(), "IPv6 is requested for itself");
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        for config in [
            json!([{"Subnet": "10.1.0.0/16", "Gateway": "fd00::1"}]),
            json!([{"Subnet": "10.1.0.0/16", "IPRange": "10.2.0.0/24"}]),
            json!([{"IPRange": "10.2.0.0/24"}]),
            json!([{"Subnet": "10.1.0.0/16", "AuxiliaryAddresses": {"x": "y"}}]),
            json!([{"Subnet": "nonsense"}]),
        ] {
            assert!(read(true, config.clone()).is_err(), "{config}");
        }
    }
}
