//! The addresses of this machine. Those of IPv4 are in one file an interface, written by dhcpcd's
//! hook and by us; the kernel lists those of IPv6.

use super::matching::Entry;
use corral_config::model::Interface;
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;

pub(crate) const FOLDER: &str = "/run/corral/addresses";
const OF_IPV6: &str = "/proc/net/if_inet6";
/// How the names of bridges and virtual cables of containers begin, of all usual engines. They are
/// not configured here, and dhcpcd does not ask on them: a container could answer.
pub(crate) const OF_CONTAINERS: [&str; 15] = [
    "docker", "br-", "veth", "podman", "virbr", "cni", "flannel", "cali", "cilium", "lxc", "eni",
    "ve-", "vb-", "tunl", "dummy",
];
/// Deprecated, failed or temporary (if_addr.h): no address to reach the machine by.
const UNFIT: u32 = 0x20 | 0x08 | 0x01;
/// Not yet checked whether another machine has it.
const TENTATIVE: u32 = 0x40;
/// The owner's, not a router's.
const PERMANENT: u32 = 0x80;

/// Does an interface belong to a container, by its name?
pub(crate) fn is_of_containers(interface: &str) -> bool {
    OF_CONTAINERS.iter().any(|prefix| interface.starts_with(prefix))
}

/// Has this interface an address?
pub(super) fn is_known(interface: &str) -> bool {
    Path::new(FOLDER).join(interface).exists()
}

/// True if other networks can reach this interface by IPv6. Routers give such addresses, and
/// dhcpcd's hook does not record them. The fields of a line: address, index, prefix length, scope,
/// flags, name.
pub(super) fn has_global_ipv6(interface: &str) -> bool {
    let addresses = fs::read_to_string(OF_IPV6).unwrap_or_default();
    addresses.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, _, _, "00", _, name] if name == interface)
    })
}

/// The login banner shows static addresses too, one line each.
pub(super) fn note(entry: &Entry<'_>) {
    let addresses = entry.interface.map(Interface::static_addresses).unwrap_or_default();
    if !addresses.is_empty() {
        let text = format!("{}\n", addresses.join("\n"));
        let _ = fs::write(Path::new(FOLDER).join(&entry.link.name), text);
    }
}

/// The addresses of each interface that is not a container's, with their prefix lengths; IPv4
/// first.
pub(crate) fn all() -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let text = fs::read_to_string(item.path()).unwrap_or_default();
        let addresses = text.lines().filter(|line| !line.contains(':')).map(str::to_owned);
        all.entry(item.file_name().to_string_lossy().into_owned()).or_default().extend(addresses);
    }
    let lines = fs::read_to_string(OF_IPV6).unwrap_or_default();
    for (name, address) in lines.lines().filter_map(parse_ipv6) {
        all.entry(name).or_default().push(address);
    }
    all.retain(|_, addresses| !addresses.is_empty());
    all
}

/// A line of `/proc/net/if_inet6`: interface and address, if other machines can reach it by that.
fn parse_ipv6(line: &str) -> Option<(String, String)> {
    let [address, _, length, scope, flags, name] =
        line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    // A moment later a static one is checked, and no event rewrites the banner then.
    let is_unfit = flags & UNFIT != 0 || flags & (TENTATIVE | PERMANENT) == TENTATIVE;
    let is_global = ["00", "40"].contains(&scope);
    if is_unfit || !is_global || is_of_containers(name) {
        return None;
    }
    let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
    let length = u8::from_str_radix(length, 16).ok()?;
    Some((name.to_owned(), format!("{address}/{length}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_if_the_machine_can_be_reached_by_it() {
        let cases = [
            ("20010db8000000000000000000000015 02 40 00 80     eth0", Some("eth0 2001:db8::15/64")),
            (
                "fec0000000000000505400fffe123456 02 40 40 00     eth0",
                Some("eth0 fec0::5054:ff:fe12:3456/64"),
            ),
            ("20010db8000000000000000000000015 02 40 00 c0     eth0", Some("eth0 2001:db8::15/64")),
            ("20010db8000000000000000000000015 02 40 00 40     eth0", None),
            ("20010db8000000000000000000000015 02 40 00 c8     eth0", None),
            ("20010db8000000000000000000000015 02 40 00 01     eth0", None),
            ("fe80000000000000505400fffe123456 02 40 20 80     eth0", None),
            ("00000000000000000000000000000001 01 80 10 80       lo", None),
            ("fd000000000000000000000000000001 05 40 00 80  docker0", None),
            ("no such line", None),
        ];
        for (line, expected) in cases {
            let shown = parse_ipv6(line).map(|(name, address)| format!("{name} {address}"));
            assert_eq!(shown.as_deref(), expected, "{line}");
        }
    }
}
