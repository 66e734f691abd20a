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

/// The login banner shows static addresses too.
pub(super) fn note(entry: &Entry<'_>) {
    let addresses = entry.interface.map(Interface::static_addresses).unwrap_or_default();
    if let Some(first) = addresses.first() {
        let _ = fs::write(Path::new(FOLDER).join(&entry.link.name), format!("{first}\n"));
    }
}
