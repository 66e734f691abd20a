//! The addresses of this machine: one file an interface, written by dhcpcd's hook and by us.

use super::matching::Entry;
use corral_config::model::Interface;
use std::fs;
use std::path::Path;

pub(crate) const FOLDER: &str = "/run/corral/addresses";

/// Has this interface an address?
pub(super) fn is_known(interface: &str) -> bool {
    Path::new(FOLDER).join(interface).exists()
}

/// True if other networks can reach this interface by IPv6. Routers give such addresses, and
/// dhcpcd's hook does not record them. The fields of a line: address, index, prefix length, scope,
/// flags, name.
pub(super) fn has_global_ipv6(interface: &str) -> bool {
    let addresses = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    addresses.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, _, _, "00", _, name] if name == interface)
    })
}

/// The login banner shows static addresses too.
pub(super) fn note(entry: &Entry<'_>) {
    let addresses = entry.interface.map(Interface::static_addresses).unwrap_or_default();
    if let Some(first) = addresses.first() {
        let _ = fs::write(Path::new(FOLDER).join(&entry.link.name), format!("{first}\n"));
    }
}
