//! Subnets of networks: which are taken by the machine, and which are free.

use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer};
use std::fs;
use std::net::Ipv4Addr;

/// Subnets for containers: a smaller one has no address besides the gateway's.
const PREFIXES: std::ops::RangeInclusive<u8> = 1..=30;

/// A subnet in which there is room for containers.
pub(crate) fn parse(text: &str) -> Result<Ipv4Net, String> {
    let subnet: Option<Ipv4Net> = text.parse().ok();
    subnet
        .filter(|subnet| PREFIXES.contains(&subnet.prefix_len()))
        .map(|subnet| subnet.trunc())
        .ok_or_else(|| format!("{text:?} is not a range of IPv4 addresses such as 10.1.0.0/16"))
}

pub(super) fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(other) || other.contains(one)
}

/// The subnets that the machine has routes to.
pub(super) fn of_host() -> Vec<Ipv4Net> {
    parse_routes(&fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// The kernel's table: addresses are in hexadecimal and in the order of bytes of the processor.
fn parse_routes(table: &str) -> Vec<Ipv4Net> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, mask) = (number(fields.get(1)?)?, number(fields.get(7)?)?);
        let subnet = Ipv4Net::with_netmask(Ipv4Addr::from_bits(address), Ipv4Addr::from_bits(mask)).ok()?;
        (subnet.prefix_len() > 0).then(|| subnet.trunc())
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// The first of the usual subnets that is not taken. 172.17 is the user's Docker's.
pub(super) fn free(taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let large = (19..32).map(|number| (Ipv4Addr::new(172, number, 0, 0), 16));
    let small = (0..16).map(|number| (Ipv4Addr::new(192, 168, number * 16, 0), 20));
    let usual = large.chain(small).filter_map(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    usual.into_iter().find(|subnet| !taken.iter().any(|other| overlap(other, subnet)))
}

/// A subnet as it is kept. Earlier versions kept its first address as a number beside the prefix.
pub(super) fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ipv4Net>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Text(Ipv4Net),
        Parts { base: u32, prefix: u8 },
    }
    match Option::<Kept>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Kept::Text(subnet)) => Ok(Some(subnet)),
        Some(Kept::Parts { base, prefix }) => {
            let subnet = Ipv4Net::new(Ipv4Addr::from_bits(base), prefix);
            subnet.map(Some).map_err(serde::de::Error::custom)
        }
    }
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
        assert_eq!(taken.iter().map(Ipv4Net::to_string).collect::<Vec<_>>(), ["172.19.0.0/16"]);
        assert_eq!(free(&taken).unwrap().to_string(), "172.20.0.0/16");
    }

    #[test]
    fn a_subnet_has_room_for_containers() {
        assert_eq!(parse("10.1.2.77/30").unwrap().to_string(), "10.1.2.76/30");
        assert!(parse("10.0.0.0").is_err() && parse("10.0.0.0/31").is_err() && parse("10.0.0.0/0").is_err());
    }

    #[test]
    fn what_an_earlier_version_kept_is_read() {
        let read = |text: &str| kept(&mut serde_json::Deserializer::from_str(text)).unwrap();
        let expected: Ipv4Net = "172.19.0.0/16".parse().unwrap();
        assert_eq!(read(r#"{"base": 2886926336, "prefix": 16}"#), Some(expected));
        assert_eq!(read(r#""172.19.0.0/16""#), Some(expected));
        assert_eq!(read("null"), None);
    }
}
