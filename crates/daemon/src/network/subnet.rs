//! Subnets of networks: which are taken by the machine, and which are free.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Subnets for containers: a smaller one has no address besides the gateway's.
const PREFIXES: std::ops::RangeInclusive<u8> = 1..=30;

/// IPv6 subnets for containers: addresses, and room for more than the gateway's.
const PREFIXES_V6: std::ops::RangeInclusive<u8> = 8..=126;

/// A subnet of a client, of either family.
pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
    let subnet = text.parse();
    subnet.map_err(|_| format!("{text:?} is not a range of addresses such as 10.1.0.0/16"))
}

/// The same for IPv6.
pub(super) fn with_room_v6(subnet: Ipv6Net) -> Result<Ipv6Net, String> {
    match PREFIXES_V6.contains(&subnet.prefix_len()) {
        true => Ok(subnet.trunc()),
        false => Err(format!("{subnet} is not for containers: use a prefix from /8 to /126")),
    }
}

pub(super) fn overlap_v6(one: &Ipv6Net, other: &Ipv6Net) -> bool {
    one.contains(other) || other.contains(one)
}

/// A subnet of the unique local addresses (RFC 4193), by the digits of a random id.
pub(super) fn unique_local(id: &str) -> Option<Ipv6Net> {
    let digits = u64::from_str_radix(id.get(..14)?, 16).ok()?;
    let base = (0xfd << 56) | (digits & 0x00ff_ffff_ffff_ffff);
    Ipv6Net::new(Ipv6Addr::from_bits(u128::from(base) << 64), 64).ok()
}

/// The subnet that this address is in, if there is room for containers.
pub(super) fn with_room(subnet: Ipv4Net) -> Result<Ipv4Net, String> {
    match PREFIXES.contains(&subnet.prefix_len()) {
        true => Ok(subnet.trunc()),
        false => Err(format!("{subnet} has no room for containers: use a prefix from /1 to /30")),
    }
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
        let subnet =
            Ipv4Net::with_netmask(Ipv4Addr::from_bits(address), Ipv4Addr::from_bits(mask)).ok()?;
        (subnet.prefix_len() > 0).then(|| subnet.trunc())
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// The first of the usual subnets that is not taken. 172.17 is the user's Docker's.
pub(super) fn free(taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let large = (19..32).map(|number| (Ipv4Addr::new(172, number, 0, 0), 16));
    let small = (0..16).map(|number| (Ipv4Addr::new(192, 168, number * 16, 0), 20));
    let usual =
        large.chain(small).filter_map(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    usual.into_iter().find(|subnet| !taken.iter().any(|other| overlap(other, subnet)))
}

/// A subnet in the file of networks: its first address as a number, and its prefix.
pub(super) mod kept {
    use ipnet::Ipv4Net;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::net::Ipv4Addr;

    #[derive(Serialize, Deserialize)]
    struct Parts {
        base: u32,
        prefix: u8,
    }

    pub(in super::super) fn serialize<S: Serializer>(
        subnet: &Option<Ipv4Net>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let parts =
            |subnet: &Ipv4Net| Parts { base: subnet.addr().to_bits(), prefix: subnet.prefix_len() };
        subnet.as_ref().map(parts).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Ipv4Net>, D::Error> {
        let subnet = |parts: Parts| Ipv4Net::new(Ipv4Addr::from_bits(parts.base), parts.prefix);
        let parts = Option::<Parts>::deserialize(deserializer)?;
        parts.map(subnet).transpose().map_err(serde::de::Error::custom)
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
        let v4 = |text: &str| match parse(text)? {
            IpNet::V4(subnet) => with_room(subnet),
            IpNet::V6(subnet) => Err(subnet.to_string()),
        };
        let with_room = |text: &str| v4(text).map(|subnet| subnet.to_string());
        assert_eq!(with_room("10.1.2.77/30"), Ok("10.1.2.76/30".to_owned()));
        for text in ["10.0.0.0", "10.0.0.0/31", "10.0.0.0/0", "fd00::/64"] {
            assert!(with_room(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_gives_a_unique_local_subnet() {
        let subnet = unique_local("0123456789abcdef").unwrap();
        assert_eq!(subnet.to_string(), "fd01:2345:6789:abcd::/64");
        assert_eq!(with_room_v6(subnet), Ok(subnet));
        assert!(with_room_v6("fd00::/127".parse().unwrap()).is_err());
    }

    #[test]
    fn a_subnet_is_kept_as_numbers() {
        let text = r#"{"base":2886926336,"prefix":16}"#;
        let subnet = kept::deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap();
        assert_eq!(subnet, Some("172.19.0.0/16".parse().unwrap()));
        let mut written = Vec::new();
        kept::serialize(&subnet, &mut serde_json::Serializer::new(&mut written)).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
    }
}
