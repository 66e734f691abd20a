//! Packet, later Equinix Metal: bonded cards, and a call home when the machine is up.
//! <https://deploy.equinix.com/developers/docs/metal/server-metadata/metadata/>

use super::http::Http;
use super::instance_data::InstanceData;
use anyhow::Result;
use corral_config::metadata::{Metadata, keys_from};
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let Some(data) = http.get_json(&format!("{base}/metadata"), &[])? else { return Ok(None) };
    let user_data = http.get(&format!("{base}/userdata"));
    if let Some(url) = data["phone_home_url"].as_str() {
        // The provider shows a machine as ready when it has called; it runs all the same if that
        // fails.
        let _ = http.post(url, &[("Content-Type", "application/json")], "{}");
    }
    let found = parse(&data);
    Ok(Some(InstanceData {
        network: found.network,
        ..InstanceData::with_user_data(user_data, found.metadata)
    }))
}

/// What the answer says.
pub fn parse(data: &Value) -> InstanceData {
    let address = |public: bool, family: u64| {
        let fits = |item: &&Value| item["public"] == public && item["address_family"] == family;
        let found = addresses(data).iter().find(fits).and_then(|item| item["address"].as_str());
        found.unwrap_or_default().to_owned()
    };
    let metadata = Metadata {
        hostname: data["hostname"].as_str().filter(|name| !name.is_empty()).map(str::to_owned),
        ssh_public_keys: keys_from(&data["ssh_keys"]),
        public_ipv4: address(true, 4),
        public_ipv6: address(true, 6),
        private_ipv4: address(false, 4),
        private_ipv6: address(false, 6),
    };
    InstanceData { metadata, network: network(data), ..InstanceData::default() }
}

fn addresses(data: &Value) -> &[Value] {
    data.pointer("/network/addresses").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// All cards in `bond0`, with every address of the machine.
fn network(data: &Value) -> Option<Value> {
    let cards = data.pointer("/network/interfaces")?.as_array()?;
    let mode = data.pointer("/network/bonding/mode").and_then(Value::as_u64).unwrap_or(4);
    let mut interfaces = Map::new();
    for mac in cards.iter().filter_map(|card| card["mac"].as_str()) {
        interfaces.insert(format!("mac={mac}"), json!({"bond": "bond0"}));
    }
    let mut bond = json!({
        "dhcp": false,
        "bond_opts": {"mode": mode.to_string(), "miimon": "100", "xmit_hash_policy": "layer3+4",
            "lacp_rate": "fast", "downdelay": "200", "updelay": "200"},
        "addresses": addresses(data).iter().filter_map(cidr).collect::<Vec<String>>(),
    });
    for item in addresses(data).iter() {
        let gateway = item["gateway"].as_str().unwrap_or_default();
        match (item["public"].as_bool(), item["address_family"].as_u64()) {
            (Some(true), Some(4)) => bond["gateway"] = json!(gateway),
            (Some(true), Some(6)) => bond["gateway_ipv6"] = json!(gateway),
            // It becomes part of a command.
            (Some(false), Some(4)) if gateway.parse::<Ipv4Addr>().is_ok() => {
                bond["post_up"] = json!([format!("ip route replace 10.0.0.0/8 via {gateway}")])
            }
            _ => {}
        }
    }
    interfaces.insert("bond0".to_owned(), bond);
    Some(json!({"interfaces": interfaces}))
}

fn cidr(item: &Value) -> Option<String> {
    Some(format!("{}/{}", item["address"].as_str()?, item["cidr"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_is_no_address_is_in_no_command() {
        let commands = |gateway: &str| {
            let address = json!({"public": false, "address_family": 4, "gateway": gateway});
            let data = json!({"network": {"interfaces": [], "addresses": [address]}});
            parse(&data).network.unwrap()["interfaces"]["bond0"]["post_up"].clone()
        };
        assert_eq!(commands("10.1.0.1"), json!(["ip route replace 10.0.0.0/8 via 10.1.0.1"]));
        assert_eq!(commands("10.1.0.1; reboot"), Value::Null);
    }
}
