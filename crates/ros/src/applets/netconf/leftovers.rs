//! What an earlier configuration left: links that were made of others, addresses, default routes,
//! time servers. What the current one does not have is removed.

use super::commands::ip;
use corral_config::model::Interface;
use corral_machine::files::write_atomic;
use corral_machine::program;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The protocol of addresses that are set here: as that of routes, RTPROT_STATIC.
pub(super) const STATIC: &str = "4";
/// The same as ip(8) shows it.
const STATIC_SHOWN: &str = "0x4";
const LINKS: &str = "/sys/class/net";
/// The alias of links that were made here.
const ALIAS: &str = "rancher.network";
/// The time servers of leases: the hook of dhcpcd writes a file an interface.
const TIME_SERVERS: &str = "/run/corral/chrony";

/// A link was made here, and goes when the configuration does not name it any more.
pub(super) fn mark(link: &str) {
    ip(&["link", "set", link, "alias", ALIAS]);
}

pub(super) fn was_made_here(link: &str) -> bool {
    let file = Path::new(LINKS).join(link).join("ifalias");
    fs::read_to_string(file).is_ok_and(|alias| alias.trim_end() == ALIAS)
}

/// Removes the links that were made here, except these. Their cards are free afterwards.
pub(super) fn remove_links(kept: &BTreeSet<String>) {
    let items = fs::read_dir(LINKS).into_iter().flatten().flatten();
    let names = items.map(|item| item.file_name().to_string_lossy().into_owned());
    for name in names.filter(|name| !kept.contains(name) && was_made_here(name)) {
        ip(&["link", "del", &name]);
    }
}

/// Removes addresses and default routes of a link. Without an entry it has what DHCP gives, if no
/// link has one.
pub(super) fn clear(link: &str, interface: Option<&Interface>, nothing_is_said: bool) {
    let wanted = interface.map(Interface::static_addresses).unwrap_or_default();
    let has_dhcp = interface.map_or(nothing_is_said, |interface| interface.dhcp);
    let is_static = interface.is_some_and(|interface| !interface.dhcp && !interface.ipv4ll);
    let is_meant = |line: &str| {
        let mut words = line.split_whitespace();
        // One that is static alone has no address of others either, such as the firmware's.
        is_static || words.any(|word| word == STATIC_SHOWN || (!has_dhcp && word == "dynamic"))
    };
    remove_addresses(link, is_meant, &wanted);
    let by_lease: &[(&str, &str)] = &[("-4", "dhcp"), ("-6", "dhcp"), ("-6", "ra")];
    let by_lease = if has_dhcp { &[] } else { by_lease };
    for (family, protocol) in [("-4", "static"), ("-6", "static")].iter().chain(by_lease) {
        ip(&[family, "route", "flush", "default", "dev", link, "proto", protocol]);
    }
}

/// IPv6 link-local addresses are the kernel's and stay.
fn remove_addresses(link: &str, is_meant: impl Fn(&str) -> bool, wanted: &[&str]) {
    let mut command = Command::new("/usr/bin/ip");
    let shown = program::run(command.args(["-o", "address", "show", "dev", link]));
    let text = shown.unwrap_or_else(|error| {
        println!("{link}: {error:#}");
        String::new()
    });
    for address in listed(&text, is_meant).filter(|address| !wanted.contains(address)) {
        ip(&["address", "del", address, "dev", link]);
    }
}

/// The addresses in the output of `ip -o address` whose lines are meant.
fn listed(text: &str, is_meant: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.contains(" scope link"));
    lines.filter(move |line| is_meant(line)).filter_map(|line| {
        line.split_whitespace().skip_while(|word| !["inet", "inet6"].contains(word)).nth(1)
    })
}

/// Empties the lists of time servers. The next lease writes them again.
pub(super) fn forget_time_servers() {
    for item in fs::read_dir(TIME_SERVERS).into_iter().flatten().flatten() {
        let path = item.path();
        if path.extension().is_some_and(|extension| extension == "sources")
            && let Err(error) = write_atomic(&path, b"", 0o644)
        {
            println!("{}: {error:#}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_but_those_of_the_link_are_listed() {
        let text = "\
2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global dynamic eth0\\       valid_lft 9sec\n\
2: eth0    inet6 fd00::41/64 scope global proto 0x4 \\       valid_lft forever\n\
2: eth0    inet6 fe80::5054:ff:fe12:3456/64 scope link \\       valid_lft forever\n";
        let list = |word: &'static str| {
            listed(text, move |line| line.contains(word)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(list(""), "10.0.2.15/24 fd00::41/64");
        assert_eq!(list(STATIC_SHOWN), "fd00::41/64");
    }
}
