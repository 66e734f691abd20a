//! How other formats describe the network of a machine → the value of `rancher.network`. Each card
//! goes by its MAC, or by its name where it has none.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Cards, collected; then written as `rancher.network`.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    cards: BTreeMap<String, Card>,
    pub(super) nameservers: Vec<String>,
    pub(super) search: Vec<String>,
}

/// One card.
#[derive(Debug, Default)]
pub(super) struct Card {
    pub(super) dhcp: bool,
    addresses: Vec<String>,
    /// Of either family; empty ones mean nothing.
    pub(super) gateways: Vec<String>,
    pub(super) mtu: u64,
}

impl Interfaces {
    /// The card with this MAC.
    pub(super) fn by_mac(&mut self, mac: &str) -> &mut Card {
        self.by_name(&format!("mac={}", mac.to_ascii_lowercase()))
    }

    /// The card with this name (or pattern).
    pub(super) fn by_name(&mut self, name: &str) -> &mut Card {
        self.cards.entry(name.to_owned()).or_default()
    }

    /// As `rancher.network`; None if nothing was given.
    pub(super) fn into_value(self) -> Option<Value> {
        let mut network = Map::new();
        let cards: Map<String, Value> = self
            .cards
            .into_iter()
            .filter(|(name, _)| name != "mac=")
            .map(|(name, card)| (name, card.into_value()))
            .collect();
        if !cards.is_empty() {
            network.insert("interfaces".to_owned(), Value::Object(cards));
        }
        let mut dns = Map::new();
        for (key, values) in [("nameservers", self.nameservers), ("search", self.search)] {
            if !values.is_empty() {
                dns.insert(key.to_owned(), json!(values));
            }
        }
        if !dns.is_empty() {
            network.insert("dns".to_owned(), Value::Object(dns));
        }
        (!network.is_empty()).then_some(Value::Object(network))
    }
}

impl Card {
    /// Adds an address with its prefix length.
    pub(super) fn add(&mut self, address: &str, length: u64) {
        if !address.is_empty() {
            self.add_cidr(&format!("{address}/{length}"));
        }
    }

    /// Adds an IPv4 address with its mask.
    pub(super) fn add_ipv4(&mut self, address: &str, mask: &str) {
        if let Ok(mask) = mask.parse::<Ipv4Addr>() {
            self.add(address, u64::from(u32::from(mask).leading_ones()));
        }
    }

    fn add_cidr(&mut self, cidr: &str) {
        if !self.addresses.iter().any(|other| other == cidr) {
            self.addresses.push(cidr.to_owned());
        }
    }

    fn into_value(self) -> Value {
        let mut value = json!({"dhcp": self.dhcp});
        if !self.addresses.is_empty() {
            value["addresses"] = json!(self.addresses);
        }
        for gateway in self.gateways.iter().filter(|gateway| !gateway.is_empty()) {
            value[if gateway.contains(':') { "gateway_ipv6" } else { "gateway" }] = json!(gateway);
        }
        if self.mtu > 0 {
            value["mtu"] = json!(self.mtu);
        }
        value
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A list of texts, or one text.
fn texts(value: &Value, key: &str) -> Vec<String> {
    match value.get(key) {
        Some(Value::String(one)) => one.split_whitespace().map(str::to_owned).collect(),
        _ => list(value, key).iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect(),
    }
}

/// OpenStack's `network_data.json`. Cards only; bonds and VLANs of the provider are configured in
/// user data.
pub fn from_openstack(data: &Value) -> Option<Value> {
    let mut interfaces = Interfaces::default();
    for network in list(data, "networks") {
        let link = list(data, "links").iter().find(|link| link["id"] == network["link"]);
        let Some(link) = link.filter(|link| !["bond", "vlan"].contains(&text(link, "type"))) else {
            continue;
        };
        let card = interfaces.by_mac(text(link, "ethernet_mac_address"));
        card.mtu = link["mtu"].as_u64().unwrap_or(0);
        let kind = text(network, "type");
        card.dhcp |= kind.contains("dhcp");
        let (address, mask) = (text(network, "ip_address"), text(network, "netmask"));
        match address.split_once('/') {
            Some(_) => card.add_cidr(address),
            None if address.contains(':') => card.add(address, mask.parse().unwrap_or(64)),
            None => card.add_ipv4(address, mask),
        }
        let is_default = |route: &&Value| ["0.0.0.0", "::"].contains(&text(route, "network"));
        card.gateways.extend(
            list(network, "routes")
                .iter()
                .filter(is_default)
                .map(|route| text(route, "gateway").to_owned()),
        );
    }
    let servers = list(data, "services").iter().filter(|service| text(service, "type") == "dns");
    interfaces.nameservers.extend(servers.map(|service| text(service, "address").to_owned()));
    interfaces.into_value()
}

/// NoCloud's `network-config`, version 1 or 2 (netplan's), as Proxmox and libvirt write it.
pub fn from_nocloud(data: &Value) -> Option<Value> {
    let data = data.get("network").unwrap_or(data);
    let mut interfaces = Interfaces::default();
    match data["version"].as_u64() {
        Some(1) => list(data, "config").iter().for_each(|item| take_v1(item, &mut interfaces)),
        Some(2) => {
            for (name, item) in data["ethernets"].as_object()? {
                take_v2(name, item, &mut interfaces);
            }
        }
        _ => return None,
    }
    interfaces.into_value()
}

fn take_v1(item: &Value, interfaces: &mut Interfaces) {
    if text(item, "type") == "nameserver" {
        interfaces.nameservers.extend(texts(item, "address"));
        interfaces.search.extend(texts(item, "search"));
    }
    if text(item, "type") != "physical" {
        return;
    }
    for subnet in list(item, "subnets") {
        interfaces.nameservers.extend(texts(subnet, "dns_nameservers"));
        interfaces.search.extend(texts(subnet, "dns_search"));
    }
    let card = match text(item, "mac_address") {
        "" => interfaces.by_name(text(item, "name")),
        mac => interfaces.by_mac(mac),
    };
    card.mtu = item["mtu"].as_u64().unwrap_or(0);
    for subnet in list(item, "subnets") {
        card.dhcp |= text(subnet, "type").starts_with("dhcp");
        let address = text(subnet, "address");
        if address.contains('/') {
            card.add_cidr(address);
        } else {
            card.add_ipv4(address, text(subnet, "netmask"));
        }
        card.gateways.push(text(subnet, "gateway").to_owned());
    }
}

fn take_v2(name: &str, item: &Value, interfaces: &mut Interfaces) {
    let servers = item.get("nameservers").unwrap_or(&Value::Null);
    interfaces.nameservers.extend(texts(servers, "addresses"));
    interfaces.search.extend(texts(servers, "search"));
    let matcher = item.get("match").unwrap_or(&Value::Null);
    let card = match (text(matcher, "macaddress"), text(matcher, "name")) {
        ("", "") => interfaces.by_name(name),
        ("", pattern) => interfaces.by_name(pattern),
        (mac, _) => interfaces.by_mac(mac),
    };
    card.dhcp |= item["dhcp4"] == true || item["dhcp6"] == true;
    card.mtu = item["mtu"].as_u64().unwrap_or(0);
    texts(item, "addresses").iter().for_each(|address| card.add_cidr(address));
    card.gateways.extend([text(item, "gateway4").to_owned(), text(item, "gateway6").to_owned()]);
    let is_default = |route: &&Value| ["default", "0.0.0.0/0", "::/0"].contains(&text(route, "to"));
    card.gateways.extend(
        list(item, "routes").iter().filter(is_default).map(|route| text(route, "via").to_owned()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxmox_and_netplan_say_the_same() {
        let expected = json!({
            "interfaces": {"mac=aa:bb:cc:dd:ee:ff": {
                "dhcp": false, "addresses": ["192.168.1.5/24"], "gateway": "192.168.1.1"}},
            "dns": {"nameservers": ["9.9.9.9"], "search": ["lan"]},
        });
        let v1 = json!({"version": 1, "config": [
            {"type": "physical", "name": "eth0", "mac_address": "AA:bb:cc:dd:ee:ff", "subnets": [
                {"type": "static", "address": "192.168.1.5", "netmask": "255.255.255.0",
                    "gateway": "192.168.1.1"}]},
            {"type": "nameserver", "address": ["9.9.9.9"], "search": ["lan"]}]});
        let v2 = json!({"network": {"version": 2, "ethernets": {"id0": {
            "match": {"macaddress": "aa:bb:cc:dd:ee:ff"}, "addresses": ["192.168.1.5/24"],
            "routes": [{"to": "default", "via": "192.168.1.1"}],
            "nameservers": {"addresses": ["9.9.9.9"], "search": ["lan"]}}}}});
        assert_eq!(from_nocloud(&v1), Some(expected.clone()));
        assert_eq!(from_nocloud(&v2), Some(expected));
        assert_eq!(from_nocloud(&json!({"version": 3})), None);
    }

    #[test]
    fn openstack_cards_go_by_their_mac() {
        let data = json!({
            "links": [{"id": "tap1", "type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01",
                "mtu": 1450}],
            "networks": [{"link": "tap1", "type": "ipv4", "ip_address": "10.1.0.5",
                "netmask": "255.255.0.0",
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.1.0.1"}]}],
            "services": [{"type": "dns", "address": "10.1.0.2"}],
        });
        let expected = json!({
            "interfaces": {"mac=fa:16:3e:00:00:01": {
                "dhcp": false, "addresses": ["10.1.0.5/16"], "gateway": "10.1.0.1", "mtu": 1450}},
            "dns": {"nameservers": ["10.1.0.2"]},
        });
        assert_eq!(from_openstack(&data), Some(expected));
    }
}
