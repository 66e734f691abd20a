//! machine-id(5): 32 hexadecimal digits that name this machine. Programs find them in
//! `/etc/machine-id` of the system, of the console and of syslog.
//!
//! With a state disk the id is random, made once and kept there. A machine that runs from memory
//! takes the UUID of its SMBIOS, which stays the same over restarts, else a random one.

use super::state::CONF;
use anyhow::{Context, Result};
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs;
use std::path::Path;

const FILE: &str = "/etc/machine-id";
/// What the firmware, or the hypervisor, says; readable by root only.
const OF_HARDWARE: &str = "/sys/class/dmi/id/product_uuid";
/// Mainboards whose makers gave all of them the same UUID.
const OF_MANY: [&str; 2] = ["03000200040005000006000700080009", "12345678123456789abc123456789abc"];

/// Writes the id of this machine.
pub(super) fn settle(is_on_disk: bool) {
    let settled = find(is_on_disk)
        .and_then(|id| write_atomic(Path::new(FILE), format!("{id}\n").as_bytes(), 0o444));
    if let Err(error) = settled {
        log(&format!("machine-id: {error:#}"));
    }
}

fn find(is_on_disk: bool) -> Result<String> {
    if !is_on_disk {
        let of_hardware = fs::read_to_string(OF_HARDWARE).ok().and_then(|text| parse(&text));
        return of_hardware.map_or_else(random, Ok);
    }
    let kept = Path::new(CONF).join("machine-id");
    if let Some(id) = fs::read_to_string(&kept).ok().and_then(|text| parse(&text)) {
        return Ok(id);
    }
    let id = random()?;
    if let Err(error) = write_atomic(&kept, format!("{id}\n").as_bytes(), 0o444) {
        log(&format!("machine-id: the next boot has another one: {error:#}"));
    }
    Ok(id)
}

/// An id, or a UUID. None if it is neither, or if other machines have it too.
fn parse(text: &str) -> Option<String> {
    let id = text.trim().replace('-', "").to_ascii_lowercase();
    let is_hex = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_one_digit = id.bytes().all(|byte| Some(byte) == id.bytes().next());
    (is_hex && !is_one_digit && !OF_MANY.contains(&id.as_str())).then_some(id)
}

/// As systemd makes it: a UUID of version 4.
fn random() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("reading random bytes")?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_32_digits_that_no_other_machine_has() {
        let cases = [
            ("4c4c4544-0042-3510-8051-b4c04f4e3832\n", Some("4c4c4544004235108051b4c04f4e3832")),
            ("4C4C4544-0042-3510-8051-B4C04F4E3832", Some("4c4c4544004235108051b4c04f4e3832")),
            ("4c4c4544004235108051b4c04f4e3832", Some("4c4c4544004235108051b4c04f4e3832")),
            ("00000000-0000-0000-0000-000000000000", None),
            ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", None),
            ("03000200-0400-0500-0006-000700080009", None),
            ("Not Settable", None),
            ("4c4c4544004235108051b4c04f4e383", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_random_id_is_one() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert!(one != other && parse(&one).as_ref() == Some(&one), "{one} {other}");
        assert_eq!(&one[12..13], "4");
    }
}
