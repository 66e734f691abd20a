//! DigitalOcean. <https://docs.digitalocean.com/reference/api/metadata/>

use super::http::Http;
use super::instance_data::InstanceData;
use super::network_data::Interfaces;
use anyhow::Result;
use corral_config::metadata::{Metadata, keys_from};
use serde_json::Value;

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let Some(data) = http.get_json(&format!("{base}/metadata/v1.json"), &[])? else {
        return Ok(None);
    };
    let Some(found) = parse(&data) else { return Ok(None) };
    let user_data = http.get(&format!("{base}/metadata/v1/user-data"));
    let vendor_data = http.brief().get(&format!("{base}/metadata/v1/vendor-data"));
    Ok(Some(InstanceData {
        network: found.network,
        ..InstanceData::with_user_data(user_data, found.metadata).with_vendor_data(vendor_data)
    }))
}

/// What the answer says; None if it is not of DigitalOcean's service.
pub fn parse(data: &Value) -> Option<InstanceData> {
    data.get("droplet_id")?;
    let address = |kind: &str, version: &str| {
        let found = data.pointer(&format!("/interfaces/{kind}/0/{version}/ip_address"));
        found.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let metadata = Metadata {
        hostname: data["hostname"].as_str().filter(|name| !name.is_empty()).map(str::to_owned),
        ssh_public_keys: keys_from(&data["public_keys"]),
        public_ipv4: address("public", "ipv4"),
        public_ipv6: address("public", "ipv6"),
        private_ipv4: address("private", "ipv4"),
        private_ipv6: address("private", "ipv6"),
    };
    Some(InstanceData { metadata, network: network(data), ..InstanceData::default() })
}

fn network(data: &Value) -> Option<Value> {
    let mut interfaces = Interfaces::default();
    for kind in ["public", "private"] {
        for card in data.pointer(&format!("/interfaces/{kind}"))?.as_array().into_iter().flatten() {
            let text = |path: &str| {
                card.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let interface = interfaces.by_mac(&text("/mac"));
            for version in ["/ipv4", "/anchor_ipv4"] {
                interface.add_ipv4(
                    &text(&format!("{version}/ip_address")),
                    &text(&format!("{version}/netmask")),
                );
            }
            let length = card.pointer("/ipv6/cidr").and_then(Value::as_u64).unwrap_or(64);
            interface.add(&text("/ipv6/ip_address"), length);
            if kind == "public" {
                interface.gateways.extend([text("/ipv4/gateway"), text("/ipv6/gateway")]);
            }
        }
    }
    let servers = data.pointer("/dns/nameservers").and_then(Value::as_array);
    interfaces.nameservers.extend(
        servers.into_iter().flatten().filter_map(|server| Some(server.as_str()?.to_owned())),
    );
    interfaces.into_value()
}
