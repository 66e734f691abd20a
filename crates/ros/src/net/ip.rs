//! The JSON of ip(8): the fields that are shown.

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// An interface of `ip -json address show`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    pub(super) ifname: String,
    pub(super) operstate: String,
    /// The hardware's address.
    pub(super) address: String,
    pub(super) mtu: u32,
    link_type: String,
    pub(super) addr_info: Vec<AddressInfo>,
}

impl Link {
    pub(super) fn is_loopback(&self) -> bool {
        self.link_type == "loopback"
    }
}

/// An address of an interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AddressInfo {
    pub(super) family: String,
    pub(super) local: String,
    pub(super) prefixlen: u8,
    pub(super) scope: String,
    /// It expires unless it is renewed.
    pub(super) dynamic: bool,
}

impl AddressInfo {
    pub(super) fn with_prefix(&self) -> String {
        format!("{}/{}", self.local, self.prefixlen)
    }
}

/// A route of `ip -json route show`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Route {
    #[serde(rename(serialize = "destination"))]
    pub(super) dst: String,
    pub(super) gateway: Option<String>,
    #[serde(rename(serialize = "interface"))]
    pub(super) dev: String,
    /// Who made it: `dhcp`, `static`, `boot`, `kernel`, `ra`.
    pub(super) protocol: String,
    metric: Option<u32>,
}

/// The list that ip(8) printed. It prints nothing if there is nothing to list.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<Vec<T>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).context("reading the output of ip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_ip_is_read_with_fields_that_come_and_go() {
        let text = r#"[
            {"ifindex":1,"ifname":"lo","mtu":65536,"operstate":"UNKNOWN","link_type":"loopback"},
            {"ifname":"eth0","mtu":1500,"operstate":"UP","link_type":"ether","address":"52:54:00:12:34:56",
             "addr_info":[{"family":"inet","local":"10.0.2.15","prefixlen":24,"scope":"global","dynamic":true}]}
        ]"#;
        let links: Vec<Link> = parse(text).unwrap();
        assert!(links[0].is_loopback() && !links[1].is_loopback());
        assert_eq!(links[1].addr_info[0].with_prefix(), "10.0.2.15/24");
        assert!(links[1].addr_info[0].dynamic);
        let text = r#"[{"dst":"default","gateway":"10.0.2.2","dev":"eth0","protocol":"dhcp","metric":1002,"flags":[]}]"#;
        let routes: Vec<Route> = parse(text).unwrap();
        assert_eq!((routes[0].dst.as_str(), routes[0].metric), ("default", Some(1002)));
        assert!(parse::<Route>("").unwrap().is_empty());
        assert!(parse::<Route>("nonsense").is_err());
    }
}
