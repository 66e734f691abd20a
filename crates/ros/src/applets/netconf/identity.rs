//! What dhcpcd is known by: its DUID, and the secret of its IPv6 addresses (RFC 7217).
//! Both stay the same as long as the first card and the id of the machine do, also on a machine
//! without a state disk. dhcpcd would make new ones at each boot: its files are in memory.

use anyhow::{Context, Result};
use corral_engine::spec::MacAddress;
use corral_machine::files::write_atomic;
use sha2::{Digest, Sha512};
use std::fs;
use std::path::Path;

/// The files of dhcpcd, as its container has them.
const FOLDER: &str = "/var/lib/dhcpcd";
const MACHINE_ID: &str = "/etc/machine-id";
/// DUID-LL of an Ethernet card (RFC 8415, 11.4).
const DUID_LL: [u8; 4] = [0, 3, 0, 1];

/// Writes both files, unless they are there. `mac` is the address of the first card.
pub(super) fn settle(mac: Option<&str>) -> Result<()> {
    if let Some(duid) = mac.and_then(duid) {
        write("duid", &duid)?;
    }
    let id = fs::read_to_string(MACHINE_ID).unwrap_or_default();
    match secret(&id) {
        Some(secret) => write("secret", &secret),
        None => Ok(()),
    }
}

fn write(name: &str, text: &str) -> Result<()> {
    let file = Path::new(FOLDER).join(name);
    if file.exists() {
        return Ok(());
    }
    write_atomic(&file, text.as_bytes(), 0o600).with_context(|| format!("{}", file.display()))
}

fn duid(mac: &str) -> Option<String> {
    let MacAddress(bytes) = mac.parse().ok()?;
    (bytes != [0; 6]).then(|| colons(&[DUID_LL.as_slice(), &bytes].concat()))
}

/// It does not give the id of the machine away, as machine-id(5) wants. None without an id.
fn secret(machine_id: &str) -> Option<String> {
    let id = machine_id.trim();
    (!id.is_empty()).then(|| colons(&Sha512::digest(format!("corral dhcpcd secret {id}"))))
}

/// As dhcpcd writes bytes into its files.
fn colons(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}\n", parts.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_its_first_card() {
        let expected = "00:03:00:01:52:54:00:12:34:56\n";
        assert_eq!(duid("52:54:00:12:34:56").as_deref(), Some(expected));
        for no_card in ["", "00:00:00:00:00:00", "52:54", "x"] {
            assert_eq!(duid(no_card), None, "{no_card}");
        }
    }

    #[test]
    fn the_secret_is_that_of_the_machine_and_does_not_name_it() {
        let id = "0123456789abcdef0123456789abcdef";
        let secret = |id: &str| super::secret(id).unwrap();
        assert_eq!(secret(id), secret(&format!("{id}\n")));
        assert_ne!(secret(id), secret("f123456789abcdef0123456789abcdef"));
        assert_eq!(secret(id).len(), 64 * 3);
        assert_eq!(super::secret("\n"), None);
    }
}
