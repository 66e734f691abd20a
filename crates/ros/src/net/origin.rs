//! Who gave an address. The kernel knows whether it expires, the configuration which addresses are
//! static, and the network service which ones came from a lease.

use super::ip::AddressInfo;
use crate::applets::netconf::addresses::{FOLDER, is_of_containers};
use corral_resolve::effective::load_config;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Who gave an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    Dhcp,
    Static,
    LinkLocal,
    /// Made by this machine from the prefix that a router advertises.
    Router,
    /// By an engine, for its containers.
    Engine,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Origin::Dhcp => "DHCP",
            Origin::Static => "static",
            Origin::LinkLocal => "link-local",
            Origin::Router => "router",
            Origin::Engine => "containers",
        })
    }
}

/// What the configuration and the network service know of addresses.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The addresses of the configuration. Only root can read it; without it, an address that does
    /// not expire is static.
    fixed: BTreeSet<String>,
    /// The address that the login banner shows for an interface: a lease, or the first static one.
    noted: BTreeMap<String, String>,
    /// Could the configuration be read?
    has_config: bool,
}

impl Known {
    pub(super) fn load() -> Known {
        let config = load_config();
        let has_config = config.is_ok();
        let interfaces = config.unwrap_or_default().rancher.network.interfaces;
        let fixed = interfaces.values().flat_map(|interface| interface.static_addresses());
        let fixed = fixed.map(str::to_owned).collect();
        let files = fs::read_dir(FOLDER).into_iter().flatten().flatten();
        let noted = files.filter_map(|file| {
            let text = fs::read_to_string(file.path()).ok()?;
            Some((file.file_name().to_string_lossy().into_owned(), text.trim().to_owned()))
        });
        Known { fixed, noted: noted.collect(), has_config }
    }

    pub(super) fn origin(&self, interface: &str, info: &AddressInfo) -> Origin {
        let address = info.with_prefix();
        let is_lease = self.has_config && self.noted.get(interface) == Some(&address);
        if is_link_local(&info.local) {
            Origin::LinkLocal
        } else if self.fixed.contains(&address) {
            Origin::Static
        } else if info.family == "inet6" && info.dynamic {
            // A server gives one address, a router a prefix.
            if info.prefixlen == 128 { Origin::Dhcp } else { Origin::Router }
        } else if info.dynamic || is_lease {
            Origin::Dhcp
        } else if is_of_containers(interface) {
            Origin::Engine
        } else {
            Origin::Static
        }
    }
}

fn is_link_local(address: &str) -> bool {
    address.parse::<Ipv4Addr>().is_ok_and(|address| address.is_link_local())
        || address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_follows_from_lifetime_configuration_and_lease() {
        let known = Known {
            fixed: BTreeSet::from(["10.1.0.41/24".to_owned(), "fd00::41/64".to_owned()]),
            noted: BTreeMap::from([("eth1".to_owned(), "192.0.2.7/24".to_owned())]),
            has_config: true,
        };
        let all = [
            ("eth0", "inet", "10.0.2.15", 24, true, Origin::Dhcp),
            ("eth0", "inet", "169.254.3.4", 16, false, Origin::LinkLocal),
            ("eth0", "inet6", "fe80::1", 64, false, Origin::LinkLocal),
            ("eth0", "inet6", "2001:db8::7", 128, true, Origin::Dhcp),
            ("eth0", "inet6", "2001:db8::5054", 64, true, Origin::Router),
            ("eth0", "inet", "10.1.0.41", 24, false, Origin::Static),
            ("eth0", "inet6", "fd00::41", 64, false, Origin::Static),
            // A lease that never expires.
            ("eth1", "inet", "192.0.2.7", 24, false, Origin::Dhcp),
            ("eth1", "inet", "192.0.2.8", 24, false, Origin::Static),
            ("docker0", "inet", "172.17.0.1", 16, false, Origin::Engine),
        ];
        for (interface, family, local, prefixlen, dynamic, expected) in all {
            let (family, local) = (family.to_owned(), local.to_owned());
            let info = AddressInfo { family, local, prefixlen, dynamic, ..AddressInfo::default() };
            assert_eq!(known.origin(interface, &info), expected, "{info:?}");
        }
    }
}
