//! VMware: keys of guestinfo through the hypervisor's backdoor, or the OVF environment that holds
//! the same keys.
//! <https://github.com/vmware-archive/cloud-init-vmware-guestinfo>

use super::instance_data::InstanceData;
use super::seed;
use anyhow::{Context, Result};
use corral_config::encoding::Encoding;
use corral_config::metadata::Metadata;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Labels of the CDs on which a hypervisor hands the OVF environment over (its transport `iso`).
pub const CDS: [&str; 2] = ["OVF ENV", "OVF-TRANSPORT"];
/// The file on such a CD.
pub const ON_CD: &str = "ovf-env.xml";

/// The value of a key without its prefix `guestinfo.`; None if it is not set.
pub type Get<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// Is this a machine of VMware's?
pub fn is_here() -> bool {
    vmw_backdoor::is_vmware_cpu()
}

/// Reads the OVF environment in `file`, or else guestinfo. Without a file, None on a machine that
/// is not VMware's. Also returns the URL that the keys name.
pub fn read(file: Option<&Path>) -> Result<Option<(InstanceData, Option<String>)>> {
    if let Some(file) = file {
        let bytes = seed::read_file(file)?;
        let text = std::str::from_utf8(&bytes)
            .with_context(|| format!("{} is not UTF-8 text", file.display()))?;
        return parse_environment(text).map(Some);
    }
    if !is_here() {
        return Ok(None);
    }
    let mut guard =
        vmw_backdoor::access_backdoor_privileged().context("reaching the hypervisor")?;
    let mut channel = guard.open_enhanced_chan().context("opening a channel to the hypervisor")?;
    let mut request = |key: &str| -> Option<String> {
        let value = channel.get_guestinfo(format!("guestinfo.{key}").as_bytes()).ok().flatten()?;
        Some(String::from_utf8_lossy(&value).trim().to_owned()).filter(|value| !value.is_empty())
    };
    match request("ovfEnv").or_else(|| request("ovfenv")) {
        Some(text) => parse_environment(&text).map(Some),
        None => interpret(&mut request).map(Some),
    }
}

/// What an OVF environment says, and the URL that it names.
pub fn parse_environment(text: &str) -> Result<(InstanceData, Option<String>)> {
    let keys = parse_ovf(text)?;
    interpret(&mut |key| keys.get(key).cloned())
}

/// `<Property oe:key="guestinfo.hostname" oe:value="…"/>` of an OVF environment. One without a
/// value is not set.
fn parse_ovf(text: &str) -> Result<BTreeMap<String, String>> {
    let document = roxmltree::Document::parse(text).context("the OVF environment is not XML")?;
    let attribute = |node: &roxmltree::Node<'_, '_>, name: &str| {
        let found = node.attributes().find(|attribute| attribute.name() == name);
        found.map(|attribute| attribute.value().to_owned())
    };
    let properties = document.descendants().filter(|node| node.tag_name().name() == "Property");
    Ok(properties
        .filter_map(|node| {
            let key = attribute(&node, "key")?;
            let value = attribute(&node, "value").filter(|value| !value.trim().is_empty())?;
            Some((key.strip_prefix("guestinfo.").unwrap_or(&key).to_owned(), value))
        })
        .collect())
}

/// What the keys mean. Indices begin at 0 and end at the first gap.
fn interpret(get: Get<'_>) -> Result<(InstanceData, Option<String>)> {
    let data = ["cloud-init.config.data", "userdata"].iter().find_map(|key| get(key));
    let name = ["cloud-init.data.encoding", "cloud-init.config.data.encoding", "userdata.encoding"]
        .iter()
        .find_map(|key| get(key))
        .unwrap_or_default();
    let url = get("cloud-init.config.url").filter(|_| data.is_none());
    let user_data = match data {
        Some(data) => {
            let encoding = Encoding::parse(&name).with_context(|| {
                format!("unsupported encoding {name:?} in guestinfo.cloud-init.data.encoding")
            })?;
            Some(
                encoding
                    .decode(data.as_bytes())
                    .map_err(|error| anyhow::anyhow!("guestinfo: {error}"))?,
            )
        }
        None => None,
    };
    let mut network = Map::new();
    let (interfaces, metadata) = read_interfaces(get);
    if !interfaces.is_empty() {
        network.insert("interfaces".to_owned(), Value::Object(interfaces));
    }
    let servers = indexed(get, |get, index| get(&format!("dns.server.{index}")));
    let search = indexed(get, |get, index| get(&format!("dns.domain.{index}")));
    if !servers.is_empty() || !search.is_empty() {
        network.insert("dns".to_owned(), json!({"nameservers": servers, "search": search}));
    }
    let network = (!network.is_empty()).then_some(Value::Object(network));
    let metadata = Metadata { hostname: get("hostname"), ..metadata };
    Ok((InstanceData { user_data, metadata, network, ..InstanceData::default() }, url))
}

fn indexed<T>(get: Get<'_>, item: impl Fn(Get<'_>, u32) -> Option<T>) -> Vec<T> {
    let mut items = Vec::new();
    while let Some(found) = item(get, u32::try_from(items.len()).unwrap_or(u32::MAX)) {
        items.push(found);
    }
    items
}

fn read_interfaces(get: Get<'_>) -> (Map<String, Value>, Metadata) {
    let mut metadata = Metadata::default();
    let cards = indexed(get, |get, number| {
        let key = |name: &str| format!("interface.{number}.{name}");
        let (name, mac) = (get(&key("name")), get(&key("mac")));
        let matcher = mac.map(|mac| format!("mac={}", mac.to_ascii_lowercase())).or(name)?;
        let addresses = indexed(get, |get, index| get(&key(&format!("ip.{index}.address"))));
        let routes = indexed(get, |get, index| get(&key(&format!("route.{index}.gateway"))));
        let dhcp = addresses.is_empty() && get(&key("dhcp")).is_none_or(|answer| answer != "no");
        Some((matcher, addresses, routes, dhcp, get(&key("role")).unwrap_or_default()))
    });
    let mut interfaces = Map::new();
    for (matcher, addresses, routes, dhcp, role) in cards {
        let plain = |wanted: fn(&str) -> bool| {
            let hit = addresses.iter().find(|address| wanted(address));
            hit.and_then(|address| address.split('/').next()).unwrap_or_default().to_owned()
        };
        let (v4, v6) =
            (plain(|address| !address.contains(':')), plain(|address| address.contains(':')));
        match role.as_str() {
            "public" => (metadata.public_ipv4, metadata.public_ipv6) = (v4, v6),
            "private" => (metadata.private_ipv4, metadata.private_ipv6) = (v4, v6),
            _ => {}
        }
        let mut card = json!({"dhcp": dhcp, "addresses": addresses});
        for gateway in &routes {
            card[if gateway.contains(':') { "gateway_ipv6" } else { "gateway" }] = json!(gateway);
        }
        interfaces.insert(matcher, card);
    }
    (interfaces, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guestinfo_is_read_up_to_the_first_gap() {
        let keys: BTreeMap<&str, &str> = [
            ("hostname", "vm-1"),
            ("interface.0.mac", "00:0C:29:00:00:01"),
            ("interface.0.role", "private"),
            ("interface.0.ip.0.address", "192.168.1.100/24"),
            ("interface.0.ip.2.address", "not reached"),
            ("interface.0.route.0.gateway", "192.168.1.1"),
            ("interface.1.name", "eth1"),
            ("interface.3.name", "not reached"),
            ("dns.server.0", "8.8.8.8"),
            ("cloud-init.config.data", "I2Nsb3VkLWNvbmZpZwo="),
            ("cloud-init.data.encoding", "base64"),
            ("cloud-init.config.url", "http://not.used/"),
        ]
        .into();
        let (found, url) =
            interpret(&mut |key| keys.get(key).map(|value| (*value).to_owned())).unwrap();
        assert_eq!((found.user_data.as_deref(), url), (Some(&b"#cloud-config\n"[..]), None));
        assert_eq!(found.metadata.hostname.as_deref(), Some("vm-1"));
        assert_eq!(found.metadata.private_ipv4, "192.168.1.100");
        let expected = json!({
            "interfaces": {
                "mac=00:0c:29:00:00:01": {
                    "dhcp": false,
                    "addresses": ["192.168.1.100/24"],
                    "gateway": "192.168.1.1",
                },
                "eth1": {"dhcp": true, "addresses": []},
            },
            "dns": {"nameservers": ["8.8.8.8"], "search": []},
        });
        assert_eq!(found.network, Some(expected));
    }

    #[test]
    fn an_unknown_encoding_is_an_error_that_names_it() {
        let keys: BTreeMap<&str, &str> =
            [("cloud-init.config.data", "x"), ("cloud-init.data.encoding", "rot13")].into();
        let error =
            interpret(&mut |key| keys.get(key).map(|value| (*value).to_owned())).unwrap_err();
        assert!(error.to_string().contains("unsupported encoding \"rot13\""), "{error}");
    }

    #[test]
    fn an_ovf_environment_holds_the_same_keys() {
        let text = r#"<?xml version="1.0"?>
            <Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
            xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"><PropertySection>
            <Property oe:key="guestinfo.hostname" oe:value="from-ovf"/>
            <Property oe:key="other" oe:value="x"/>
            <Property oe:key="guestinfo.cloud-init.config.data" oe:value=""/>
            </PropertySection></Environment>"#;
        let keys = parse_ovf(text).unwrap();
        assert_eq!(keys["hostname"], "from-ovf");
        assert!(
            !keys.contains_key("cloud-init.config.data"),
            "an empty property does not take precedence over a URL"
        );
        assert!(parse_ovf("{}").is_err());
    }
}
