//! A static address from flags: which interface it is for, and its configuration.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr {
    ip: IpAddr,
    prefix: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let (ip, prefix) = text
            .split_once('/')
            .ok_or_else(|| format!("it has no prefix length; expected for example {text}/24"))?;
        let ip: IpAddr = ip.parse().map_err(|_| format!("{ip:?} is not an IP address"))?;
        let most = if ip.is_ipv6() { 128 } else { 32 };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= most);
        Ok(Cidr {
            ip,
            prefix: prefix.ok_or_else(|| format!("the prefix length must be 0 to {most}"))?,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.ip, self.prefix)
    }
}

/// A static address on an interface.
#[derive(Debug)]
pub(super) struct Static {
    address: Cidr,
    gateway: Option<IpAddr>,
    /// Key in `rancher.network.interfaces`.
    key: String,
    /// Name of the interface, if it differs from the key.
    name: String,
}

impl Static {
    /// Without an interface, that of the default route is used, or the first card.
    pub(super) fn find(
        address: Cidr,
        gateway: Option<IpAddr>,
        interface: Option<&str>,
    ) -> Result<Static> {
        if let Some(gateway) = gateway.filter(|gateway| gateway.is_ipv6() != address.ip.is_ipv6()) {
            bail!("--gateway {gateway}: its address family is not that of --address {address}");
        }
        let (key, name) = match interface {
            Some(name) => (name.to_owned(), name.to_owned()),
            None => {
                let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
                let name = default_route(&routes).or_else(first_card);
                let name = name.context(
                    "--address: this machine has no network card; name it by --interface",
                )?;
                (key_of(&name), name)
            }
        };
        Ok(Static { address, gateway, key, name })
    }

    pub(super) fn to_value(&self) -> Value {
        let mut entry = json!({ "address": self.address.to_string(), "dhcp": false });
        if let (Some(gateway), Some(entry)) = (self.gateway, entry.as_object_mut()) {
            let key = if gateway.is_ipv6() { "gateway_ipv6" } else { "gateway" };
            entry.insert(key.to_owned(), json!(gateway));
        }
        json!({ &self.key: entry })
    }
}

impl fmt::Display for Static {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} on {}", self.address, self.name)?;
        if self.key != self.name {
            write!(out, " ({})", self.key)?;
        }
        self.gateway.map_or(Ok(()), |gateway| write!(out, ", gateway {gateway}"))
    }
}

/// A card is matched by its MAC, because the next boot may name cards in another order. A bridge,
/// bond or VLAN is matched by its name.
fn key_of(name: &str) -> String {
    let folder = sysfs(name);
    let mac = fs::read_to_string(folder.join("address")).unwrap_or_default().trim().to_owned();
    if folder.join("device").exists() && !mac.is_empty() {
        format!("mac={mac}")
    } else {
        name.to_owned()
    }
}

fn sysfs(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

/// The interface of the default route with the lowest metric, from /proc/net/route (IPv4).
fn default_route(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, target, mask) = (fields.first()?, fields.get(1)?, fields.get(7)?);
        let metric: u32 = fields.get(6)?.parse().ok()?;
        (*target == "00000000" && *mask == "00000000").then(|| (metric, (*name).to_owned()))
    });
    routes.min().map(|(_, name)| name)
}

/// The first Ethernet card by name.
fn first_card() -> Option<String> {
    const ETHERNET: &str = "1";
    let items = fs::read_dir("/sys/class/net").ok()?.flatten();
    let names = items.filter_map(|item| item.file_name().into_string().ok());
    let kind = |name: &str| fs::read_to_string(sysfs(name).join("type")).unwrap_or_default();
    names.filter(|name| sysfs(name).join("device").exists() && kind(name).trim() == ETHERNET).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_least_metric_names_the_interface() {
        let head =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
        let table = format!(
            "{head}\neth0\t0002000A\t00000000\t0001\t0\t0\t1\t00FFFFFF\t0\t0\t0\n\
             wan1\t00000000\t0202000A\t0003\t0\t0\t1002\t00000000\t0\t0\t0\n\
             eth1\t00000000\t0202000A\t0003\t0\t0\t20\t00000000\t0\t0\t0\n"
        );
        assert_eq!(default_route(&table).as_deref(), Some("eth1"));
        assert_eq!(default_route(head), None);
        assert_eq!(default_route(""), None);
    }

    #[test]
    fn a_gateway_is_of_the_family_of_the_address() {
        let address: Cidr = "2001:db8::5/64".parse().unwrap();
        let found = Static::find(address, Some("fe80::1".parse().unwrap()), Some("eth0")).unwrap();
        assert_eq!(
            found.to_value(),
            json!({"eth0": {"address": "2001:db8::5/64", "gateway_ipv6": "fe80::1", "dhcp": false}})
        );
        let why =
            Static::find(address, Some("10.0.0.1".parse().unwrap()), Some("eth0")).unwrap_err();
        assert!(why.to_string().contains("address family"), "{why}");
    }
}
