//! `ros netconf`, in the network container: host name, loopback, static addresses, resolv.conf; then it becomes
//! dhcpcd for the interfaces that ask for an address. DHCP is never asked for on an interface that is static.

use super::load_config;
use anyhow::{Context, Result};
use corral_config::Config;
use corral_config::model::Interface;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Bridges, cables of containers and the like: theirs, not ours.
const NOT_OURS: [&str; 8] = ["lo", "docker", "br-", "veth", "virbr", "cni", "flannel", "dummy"];

/// Applies what can be applied at once, then runs dhcpcd in its place.
pub(crate) fn run() -> Result<()> {
    let config = load_config()?;
    let network = &config.rancher.network;
    set_hostname(&config)?;
    ip(&["link", "set", "lo", "up"]);
    let dns_is_given = !network.dns.nameservers.is_empty() || !network.dns.search.is_empty();
    let dns = if dns_is_given { &network.dns } else { &config.rancher.defaults.network.dns };
    if dns_is_given || fs::read_to_string("/etc/resolv.conf").is_ok_and(|text| text.trim().is_empty()) {
        write_resolv_conf(&dns.nameservers, &dns.search)?;
    }
    let names = load_interfaces();
    let mut without_dhcp = Vec::new();
    for name in &names {
        match find(&config, name) {
            Some(interface) => {
                configure(name, interface);
                if !interface.dhcp {
                    without_dhcp.push(name.clone());
                }
            }
            None if network.interfaces.is_empty() => {}
            None => without_dhcp.push(name.clone()),
        }
    }
    let error = dhcpcd(&config, dns_is_given, &without_dhcp).exec();
    Err(error).context("starting dhcpcd")
}

fn dhcpcd(config: &Config, dns_is_given: bool, without_dhcp: &[String]) -> Command {
    let mut command = Command::new("/usr/sbin/dhcpcd");
    command.args(["-B", "-M"]);
    if !config.rancher.debug {
        command.arg("-q");
    }
    if config.hostname.is_none() {
        command.args(["-e", "force_hostname=true"]);
    } else {
        command.args(["--nohook", "hostname"]);
    }
    if dns_is_given {
        command.args(["--nohook", "resolv.conf"]);
    }
    for name in without_dhcp {
        command.args(["-Z", name]);
    }
    command
}

fn set_hostname(config: &Config) -> Result<()> {
    let name = config.effective_hostname();
    rustix::system::sethostname(name.as_bytes()).context("setting the host name")?;
    let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n");
    // In place, not by rename: other containers see this very file.
    fs::write("/etc/hosts", hosts).context("writing /etc/hosts")
}

fn write_resolv_conf(nameservers: &[String], search: &[String]) -> Result<()> {
    let mut text = String::from("# rancher.network.dns, or its defaults\n");
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    nameservers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
    fs::write("/etc/resolv.conf", text).context("writing /etc/resolv.conf")
}

fn load_interfaces() -> Vec<String> {
    let Ok(items) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let mut names: Vec<String> = items
        .flatten()
        .filter_map(|item| item.file_name().into_string().ok())
        .filter(|name| !NOT_OURS.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    names.sort();
    names
}

/// The entry for an interface: by MAC, then by exact name, then by pattern.
fn find<'a>(config: &'a Config, name: &str) -> Option<&'a Interface> {
    let entries = &config.rancher.network.interfaces;
    let mac = fs::read_to_string(Path::new("/sys/class/net").join(name).join("address")).unwrap_or_default();
    let by_mac = entries.iter().find(|(key, _)| {
        key.get(4..).is_some_and(|rest| key.starts_with("mac") && rest.eq_ignore_ascii_case(mac.trim()))
    });
    let by_name = || entries.get_key_value(name);
    let by_pattern = || {
        entries.iter().find(|(key, _)| key.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix)))
    };
    by_mac.or_else(by_name).or_else(by_pattern).map(|(_, interface)| interface)
}

fn configure(name: &str, interface: &Interface) {
    if interface.mtu > 0 {
        ip(&["link", "set", name, "mtu", &interface.mtu.to_string()]);
    }
    let addresses =
        interface.addresses.iter().chain(Some(&interface.address)).filter(|address| !address.is_empty());
    ip(&["link", "set", name, "up"]);
    for address in addresses {
        ip(&["address", "replace", address, "dev", name]);
    }
    for gateway in
        [&interface.gateway, &interface.gateway_ipv6].into_iter().filter(|gateway| !gateway.is_empty())
    {
        ip(&["route", "replace", "default", "via", gateway, "dev", name]);
    }
}

/// One command of ip(8). A failure is told, and the rest is done all the same.
fn ip(arguments: &[&str]) {
    match Command::new("ip").args(arguments).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            println!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())
        }
        Err(error) => println!("ip {}: {error}", arguments.join(" ")),
    }
}
