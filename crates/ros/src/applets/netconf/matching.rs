//! Which entry of `rancher.network.interfaces` applies to which interface: MAC before exact name
//! before pattern of a MAC before pattern of a name.

use corral_config::model::Interface;
use std::collections::BTreeMap;

/// An interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mac: String,
    /// A physical card, not a bridge, bond or VLAN. Only cards match by MAC: links made of them
    /// share it.
    pub(super) is_card: bool,
}

/// An interface, and its entry in the configuration.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) link: Link,
    pub(super) interface: Option<&'a Interface>,
}

/// The configuration of each link.
pub(super) fn entries<'a>(
    wanted: &'a BTreeMap<String, Interface>,
    links: &[Link],
) -> Vec<Entry<'a>> {
    links.iter().map(|link| Entry { link: link.clone(), interface: find(wanted, link) }).collect()
}

fn find<'a>(wanted: &'a BTreeMap<String, Interface>, link: &Link) -> Option<&'a Interface> {
    let matcher = |key: &'a str, interface: &'a Interface| -> &'a str {
        if interface.matcher.is_empty() { key } else { &interface.matcher }
    };
    let all: Vec<(&str, &Interface)> =
        wanted.iter().map(|(key, interface)| (matcher(key, interface), interface)).collect();
    let by_mac = |is_pattern: bool| {
        all.iter().filter(|(text, _)| text.contains('*') == is_pattern).find(|(text, _)| {
            link.is_card && mac_of(text).is_some_and(|mac| fits(&mac, &link.mac.to_lowercase()))
        })
    };
    let by_name = || all.iter().find(|(text, _)| *text == link.name);
    let by_pattern = || all.iter().find(|(text, _)| text.contains('*') && fits(text, &link.name));
    let found = by_mac(false).or_else(by_name).or_else(|| by_mac(true)).or_else(by_pattern);
    found.map(|(_, interface)| *interface)
}

/// The MAC, or a pattern of it, in `mac=…` or `mac:…`.
fn mac_of(text: &str) -> Option<String> {
    let mac = text.strip_prefix("mac")?.strip_prefix(['=', ':'])?;
    Some(mac.to_lowercase())
}

/// `*` matches any number of characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_beats_a_name_beats_a_pattern() {
        let entry = |mtu, matcher: &str| Interface {
            mtu,
            matcher: matcher.to_owned(),
            ..Interface::default()
        };
        let wanted: BTreeMap<String, Interface> = [
            ("eth*".to_owned(), entry(1, "")),
            ("eth1".to_owned(), entry(2, "")),
            ("mac=AA:00:00:00:00:02".to_owned(), entry(3, "")),
            ("named".to_owned(), entry(4, "mac:aa:00:00:00:00:03")),
            ("br0".to_owned(), entry(5, "")),
            ("mac=52:54:*:0A".to_owned(), entry(6, "")),
        ]
        .into();
        let link = |name: &str, mac: &str, is_card| Link {
            name: name.to_owned(),
            mac: mac.to_owned(),
            is_card,
        };
        for (link, expected) in [
            (link("eth0", "aa:00:00:00:00:00", true), Some(1)),
            (link("eth1", "aa:00:00:00:00:01", true), Some(2)),
            (link("eth1", "aa:00:00:00:00:02", true), Some(3)),
            (link("eth7", "aa:00:00:00:00:03", true), Some(4)),
            (link("br0", "aa:00:00:00:00:02", false), Some(5)),
            (link("eth9", "52:54:00:12:34:0a", true), Some(6)),
            (link("wlan9", "52:54:00:12:34:0a", true), Some(6)),
            (link("wlan9", "52:54:00:12:34:0a", false), None),
            (link("wlan9", "52:54:00:12:34:0b", true), None),
            (link("wlan0", "aa:00:00:00:00:09", true), None),
        ] {
            assert_eq!(find(&wanted, &link).map(|found| found.mtu), expected, "{link:?}");
        }
        assert!(fits("e*h*1", "eth21") && !fits("e*h*1", "eth2"));
    }
}
