//! Ranges of addresses.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A range: `172.18.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    base: u32,
    pub(crate) prefix: u8,
}

impl Subnet {
    fn new(address: u32, prefix: u8) -> Subnet {
        Subnet { base: address & mask(prefix), prefix }
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.base
    }

    pub(crate) fn overlaps(self, other: Subnet) -> bool {
        let prefix = self.prefix.min(other.prefix);
        self.base & mask(prefix) == other.base & mask(prefix)
    }

    /// Its first address for hosts.
    pub(crate) fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1)
    }

    /// Its addresses for hosts: not the range's own, and not that for everybody.
    pub(crate) fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let last = self.base | !mask(self.prefix);
        (self.base + 1..last).map(Ipv4Addr::from_bits)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Subnet, String> {
        let wrong = || format!("{text:?} is not a range of IPv4 addresses such as 10.1.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        // A smaller one has no address for a container besides the gateway.
        if (1..=30).contains(&prefix) { Ok(Subnet::new(address.to_bits(), prefix)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

/// The ranges that the machine has routes to.
pub(super) fn of_host() -> Vec<Subnet> {
    parse_routes(&fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// The kernel's table: addresses are in hexadecimal and in the order of bytes of the processor.
fn parse_routes(table: &str) -> Vec<Subnet> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, mask) = (number(fields.get(1)?)?, number(fields.get(7)?)?);
        let prefix = u8::try_from(mask.count_ones()).ok()?;
        (prefix > 0).then(|| Subnet::new(address, prefix))
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// The first of the usual ranges that nobody has. 172.17 is the user's Docker's.
pub(super) fn free(taken: &[Subnet]) -> Option<Subnet> {
    let large = (19..32).map(|number| Subnet::new(Ipv4Addr::new(172, number, 0, 0).to_bits(), 16));
    let small = (0..16).map(|number| Subnet::new(Ipv4Addr::new(192, 168, number * 16, 0).to_bits(), 20));
    large.chain(small).find(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_range_overlaps_with_none() {
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n\
                     eth0\t000013AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n";
        let taken = parse_routes(route);
        assert_eq!(taken.iter().map(Subnet::to_string).collect::<Vec<_>>(), ["172.19.0.0/16"]);
        assert_eq!(free(&taken).unwrap().to_string(), "172.20.0.0/16");
    }

    #[test]
    fn addresses_are_counted() {
        let subnet: Subnet = "10.1.2.77/30".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.1.2.76/30");
        assert_eq!(
            subnet.hosts().map(|address| address.to_string()).collect::<Vec<_>>(),
            ["10.1.2.77", "10.1.2.78"]
        );
        assert!("10.0.0.0".parse::<Subnet>().is_err() && "10.0.0.0/31".parse::<Subnet>().is_err());
    }
}
