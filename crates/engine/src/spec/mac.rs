//! Hardware addresses of network cards.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A hardware address: `02:42:ac:12:00:02`. The default leaves the choice to the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct MacAddress(pub [u8; 6]);

/// Text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address such as 02:42:ac:12:00:02")]
pub struct NotAMacAddress(String);

impl FromStr for MacAddress {
    type Err = NotAMacAddress;

    fn from_str(text: &str) -> Result<MacAddress, NotAMacAddress> {
        let wrong = || NotAMacAddress(text.to_owned());
        let byte = |part: &str| {
            // A sign is no digit, though the number parser takes one.
            let is_hex = part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let byte = u8::from_str_radix(part, 16).ok();
            byte.filter(|_| is_hex).ok_or_else(wrong)
        };
        let bytes: Vec<u8> = text.split([':', '-']).map(byte).collect::<Result<_, _>>()?;
        bytes.try_into().map(MacAddress).map_err(|_| wrong())
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> String {
        address.to_string()
    }
}

/// Records of earlier versions have the text of a client, which was not checked: one that is no
/// address left the choice to the kernel, and still does.
impl From<String> for MacAddress {
    fn from(text: String) -> MacAddress {
        text.parse().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_and_written() {
        let address: MacAddress = "02:42:AC:12:0:2".parse().unwrap();
        assert_eq!(address.to_string(), "02:42:ac:12:00:02");
        for wrong in [
            "",
            "02:42",
            "02:42:ac:12:00:02:03",
            "02:42:ac:12:00:zz",
            "02:42:ac:12:00:+2",
            "0002:42:ac:12:00:02",
        ] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }
}
