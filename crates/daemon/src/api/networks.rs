//! `/networks`.

use super::create;
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
    NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use corral_engine::error::EngineError;
use corral_engine::protocol::Request;
use serde_json::{Map, Value, json};
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
            inside.insert(
                container.id.clone(),
                json!({
                    "Name": container.spec.name, "EndpointID": endpoint.endpoint_id,
                    "MacAddress": endpoint.mac,
                    "IPv4Address": format!("{}/{}", endpoint.address, endpoint.prefix),
                    "IPv6Address": "",
                }),
            );
        }
    }
    let ranges: Vec<Value> = network
        .subnet
        .iter()
        .map(|subnet| {
            json!({
                "Subnet": subnet.to_string(),
                "Gateway": network.gateway.map(|gateway| gateway.to_string()),
            })
        })
        .collect();
    let mut options = network.options.clone();
    if network.name == "bridge" {
        options.insert("com.docker.network.bridge.name".to_owned(), network.bridge.clone());
        options.insert("com.docker.network.bridge.default_bridge".to_owned(), "true".to_owned());
    }
    json!({
        "Name": network.name, "Id": network.id, "Created": network.created, "Scope": "local",
        "Driver": network.driver, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": {}, "Config": ranges},
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
    if body.enable_ipv6 == Some(true) {
        return Err(EngineError::NotImplemented(
            "the system engine does not support IPv6 on its bridges".to_owned(),
        )
        .into());
    }
    if body.name.is_empty() || is_predefined(&body.name) {
        return Err(EngineError::BadRequest(format!(
            "{:?} is not a valid network name",
            body.name
        ))
        .into());
    }
    let range = body.ipam.and_then(|ipam| ipam.config).and_then(|list| list.into_iter().next());
    let wrong = EngineError::BadRequest;
    let subnet = range
        .as_ref()
        .and_then(|range| range.subnet.clone())
        .map(|text| subnet::parse(&text).map_err(wrong))
        .transpose()?;
    let gateway = range
        .and_then(|range| range.gateway)
        .map(|text| {
            text.parse().map_err(|_| wrong(format!("the gateway {text:?} is not an IPv4 address")))
        })
        .transpose()?;
    let wanted = NetworkCreate {
        name: body.name,
        internal: body.internal.unwrap_or(false),
        attachable: body.attachable.unwrap_or(false),
        labels: body.labels.unwrap_or_default().into_iter().collect(),
        options: body.options.unwrap_or_default().into_iter().collect(),
        subnet,
        gateway,
    };
    let shared = Arc::clone(&state.0);
    let network = blocking(move || shared.networks.create(wanted)).await?;
    state.networks.serve_names(&state.table, &network);
    emit(&state.0, "create", &network, None);
    Ok((StatusCode::CREATED, Json(json!({"Id": network.id, "Warning": ""}))).into_response())
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
    let settings = create::endpoint_settings(&body.endpoint_config.unwrap_or_default())?;
    let _allocation = state.networks.allocation.lock().await;
    let endpoint = create::allocate(&state.0, &network.name, &settings)?;
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
