//! Links and their static addresses, by iproute2: bridges, bonds, VLANs.

use super::addresses::is_of_containers;
use super::commands::ip;
use super::leftovers;
use super::matching::{Entry, Link};
use corral_config::model::Interface;
use corral_machine::modules;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Metric of the first link's default route.
const FIRST_METRIC: u32 = 100;

fn sysfs(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

/// Every interface that may be configured here. One of a container is not, unless the configuration
/// has its name.
pub(super) fn load(wanted: &BTreeMap<String, Interface>) -> Vec<Link> {
    let items = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = items.filter_map(|item| item.file_name().into_string().ok());
    let is_ours = |name: &String| {
        !["lo", "bonding_masters"].contains(&name.as_str())
            && (wanted.contains_key(name) || !is_of_containers(name))
    };
    let mut links: Vec<Link> = names
        .filter(is_ours)
        .map(|name| {
            let mac = fs::read_to_string(sysfs(&name).join("address"))
                .unwrap_or_default()
                .trim()
                .to_owned();
            let is_card = sysfs(&name).join("device").exists();
            Link { name, mac, is_card }
        })
        .collect();
    links.sort_by(|a, b| a.name.cmp(&b.name));
    links
}

/// Creates the configured bridges, bonds and VLANs that do not exist, and removes those that are
/// not configured any more.
pub(super) fn make(wanted: &BTreeMap<String, Interface>) {
    let mut kept = BTreeSet::new();
    for (key, interface) in wanted {
        let bridge = if interface.bridge == "true" { key.as_str() } else { &interface.bridge };
        if !bridge.is_empty() && bridge != "false" {
            add(&[bridge, "type", "bridge"], &mut kept);
        }
        for bond in [
            Some(interface.bond.as_str()),
            Some(key.as_str()).filter(|_| !interface.bond_opts.is_empty()),
        ] {
            if let Some(bond) = bond.filter(|bond| !bond.is_empty()) {
                // Loading the module creates a bond0 by itself.
                load_module("bonding");
                add(&[bond, "type", "bond"], &mut kept);
                leftovers::mark(bond);
            }
        }
    }
    for (key, interface) in wanted.iter().filter(|(_, interface)| !interface.bond_opts.is_empty()) {
        set_bond_options(key, &interface.bond_opts);
    }
    for entry in super::matching::entries(wanted, &load(wanted)) {
        let parent = &entry.link.name;
        let vlans =
            entry.interface.map(|interface| interface.vlan_list(parent)).unwrap_or_default();
        for (id, name) in &vlans {
            let id = id.to_string();
            add(&[name, "link", parent, "type", "vlan", "id", &id], &mut kept);
        }
    }
    leftovers::remove_links(&kept);
}

/// Adds the link that is named first, if it does not exist.
fn add(words: &[&str], kept: &mut BTreeSet<String>) {
    let Some(name) = words.first() else { return };
    kept.insert((*name).to_owned());
    if !sysfs(name).exists() {
        ip(&[&["link", "add", "name"], words].concat());
        leftovers::mark(name);
    }
}

/// The link state from the kernel: `up`, `down`, `unknown`.
pub(super) fn state(name: &str) -> String {
    fs::read_to_string(sysfs(name).join("operstate")).unwrap_or_default().trim().to_owned()
}

fn load_module(name: &str) {
    if let Err(error) = modules::load(&[name]) {
        println!("{error:#}");
    }
}

/// The mode is set first: the kernel accepts it only while the bond is down and has no cards.
fn set_bond_options(bond: &str, options: &BTreeMap<String, String>) {
    let folder = sysfs(bond).join("bonding");
    let current = fs::read_to_string(folder.join("mode")).unwrap_or_default();
    let mut ordered: Vec<(&String, &String)> = options.iter().collect();
    ordered.sort_by_key(|(name, _)| *name != "mode");
    for (name, value) in ordered {
        if name == "mode" {
            if current.split_whitespace().any(|word| word == value) {
                continue;
            }
            for card in
                fs::read_to_string(folder.join("slaves")).unwrap_or_default().split_whitespace()
            {
                ip(&["link", "set", card, "nomaster"]);
            }
            ip(&["link", "set", bond, "down"]);
        }
        if let Err(error) = fs::write(folder.join(name), value) {
            println!("{bond}: bond_opts: {name}={value}: {error}");
        }
    }
}

/// Configures a link, the `position`-th of all. A card without an entry, where another link has
/// one, is set down.
pub(super) fn configure(entry: &Entry<'_>, position: usize, nothing_is_said: bool) {
    let name = entry.link.name.as_str();
    if entry.interface.is_none() && !nothing_is_said && entry.link.is_card {
        ip(&["address", "flush", "dev", name]);
        ip(&["link", "set", name, "down"]);
        return;
    }
    // A VPN, for example, is its program's.
    if entry.interface.is_some() || entry.link.is_card || leftovers::was_made_here(name) {
        leftovers::clear(name, entry.interface, nothing_is_said);
    }
    let Some(interface) = entry.interface else { return };
    if interface.mtu > 0 {
        ip(&["link", "set", name, "mtu", &interface.mtu.to_string()]);
    }
    if !join(name, interface) {
        ip(&["link", "set", name, "up"]);
    }
    for address in interface.static_addresses() {
        ip(&["address", "replace", address, "dev", name, "proto", leftovers::STATIC]);
    }
    for route in default_routes(name, interface, position) {
        ip(&route.split(' ').collect::<Vec<_>>());
    }
}

/// The commands for its default routes. Each has a metric of its own: the kernel replaces a route
/// by one with the same metric, whichever link that is on. dhcpcd's metrics begin at 1000. The
/// gateway is on the link, also where dhcpcd has replaced the kernel's own route to it.
fn default_routes(name: &str, interface: &Interface, position: usize) -> Vec<String> {
    let metric = match interface.metric {
        0 => FIRST_METRIC.saturating_add(u32::try_from(position).unwrap_or(u32::MAX)),
        metric => metric,
    };
    let gateways = [&interface.gateway, &interface.gateway_ipv6];
    let gateways = gateways.into_iter().filter(|gateway| !gateway.is_empty());
    gateways
        .map(|gateway| {
            format!(
                "route replace default via {gateway} dev {name} onlink proto static metric {metric}"
            )
        })
        .collect()
}

/// Adds the link to its bridge or bond. False if it has neither.
fn join(name: &str, interface: &Interface) -> bool {
    let master = match (interface.bond.as_str(), interface.bridge.as_str()) {
        ("", "" | "true" | "false") => return false,
        ("", bridge) => bridge,
        (bond, _) => bond,
    };
    ip(&["address", "flush", "dev", name]);
    if !interface.bond.is_empty() {
        // A bond accepts only cards that are down.
        ip(&["link", "set", name, "down"]);
    }
    ip(&["link", "set", name, "master", master]);
    ip(&["link", "set", name, "up"]);
    ip(&["link", "set", master, "up"]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_has_a_default_route_of_its_own() {
        let interface = |gateway: &str, gateway_ipv6: &str, metric| Interface {
            gateway: gateway.to_owned(),
            gateway_ipv6: gateway_ipv6.to_owned(),
            metric,
            ..Interface::default()
        };
        for (interface, position, expected) in [
            (interface("", "", 5), 0, vec![]),
            (
                interface("10.0.0.1", "", 0),
                0,
                vec!["route replace default via 10.0.0.1 dev eth0 onlink proto static metric 100"],
            ),
            (
                interface("10.0.0.1", "fd00::1", 0),
                3,
                vec![
                    "route replace default via 10.0.0.1 dev eth0 onlink proto static metric 103",
                    "route replace default via fd00::1 dev eth0 onlink proto static metric 103",
                ],
            ),
            (
                interface("10.0.0.1", "", 7),
                3,
                vec!["route replace default via 10.0.0.1 dev eth0 onlink proto static metric 7"],
            ),
        ] {
            assert_eq!(default_routes("eth0", &interface, position), expected);
        }
    }
}
