//! `netconf`, in the network container: host name, links, static addresses, resolv.conf. Then it
//! runs dhcpcd for the interfaces that request an address. DHCP is never requested on an interface
//! that is configured without it.

pub(crate) mod addresses;
mod client;
mod commands;
mod identity;
mod leftovers;
mod links;
mod matching;
mod netconsole;

use anyhow::{Context, Result};
use commands::{ip, run_words, words};
use corral_config::Config;
use corral_config::model::Interface;
use corral_machine::console::log;
use corral_machine::{inotify, program};
use corral_resolve::effective::load_config;
use matching::Entry;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The configuration of dhcpcd for this start: the image's, and the settings of each interface.
const DHCPCD_CONF: &str = "/run/corral/dhcpcd.conf";
/// How long `netconf-after` waits for leases.
const LEASE: Duration = Duration::from_secs(30);

/// Applies what can be applied at once, then runs dhcpcd.
pub(crate) fn run() -> Result<()> {
    let config = load_config()?;
    let network = &config.rancher.network;
    set_hostname(&config)?;
    ip(&["link", "set", "lo", "up"]);
    network.pre_cmds.iter().for_each(|command| run_words(command, ""));
    let dns_is_given = write_dns(&config)?;
    let _ = fs::remove_dir_all(addresses::FOLDER);
    fs::create_dir_all(addresses::FOLDER)?;
    leftovers::forget_time_servers();
    links::make(&network.interfaces);
    let entries = matching::entries(&network.interfaces, &links::load(&network.interfaces));
    warn_if_nothing_matches(&config, &entries);
    for (position, entry) in entries.iter().enumerate() {
        let silent = Interface::default();
        let interface = entry.interface.unwrap_or(&silent);
        interface.pre_up.iter().for_each(|command| run_words(command, &entry.link.name));
        links::configure(entry, position, network.interfaces.is_empty());
        addresses::note(entry);
        entry.interface.iter().for_each(|interface| {
            println!("{}: {}", entry.link.name, description(interface));
        });
        if !interface.dhcp {
            interface.post_up.iter().for_each(|command| run_words(command, &entry.link.name));
        }
    }
    Command::new("/usr/bin/ros")
        .arg("netconf-after")
        .stdin(Stdio::null())
        .spawn()
        .context("starting netconf-after")?;
    write_dhcpcd_conf(&entries)?;
    let first_card = entries.iter().find(|entry| entry.link.is_card);
    if let Err(error) = identity::settle(first_card.map(|entry| entry.link.mac.as_str())) {
        println!("{error:#}");
    }
    start_own_clients(&config, &entries, dns_is_given);
    client::allow_large_buffer(&config.rancher.sysctl);
    client::run(dhcpcd(&config, dns_is_given, &entries))
}

/// `ros netconf-after`: what follows an interface or the complete setup, once there are leases or
/// their timeout is over.
pub(crate) fn run_after() -> Result<()> {
    let config = load_config()?;
    let network = &config.rancher.network;
    let entries = matching::entries(&network.interfaces, &links::load(&network.interfaces));
    let deadline = Instant::now() + LEASE;
    // What is static is there. The hook of dhcpcd writes the banner for each lease.
    if let Err(error) = program::run(Command::new("/usr/bin/ros").args(["banner", "--addresses"])) {
        println!("{error:#}");
    }
    let command_line = corral_machine::cmdline::load()?;
    if let Err(error) = netconsole::start(&command_line, deadline) {
        log(&format!("netconsole: {error:#}"));
    }
    for entry in &entries {
        let Some(interface) = entry.interface.filter(|interface| interface.dhcp) else { continue };
        let is_needed = !interface.post_up.is_empty() || !network.post_cmds.is_empty();
        let is_there = || addresses::is_known(&entry.link.name);
        if is_needed && !inotify::wait_for(Path::new(addresses::FOLDER), deadline, is_there)? {
            println!("{}: no lease within {} s", entry.link.name, LEASE.as_secs());
        }
        interface.post_up.iter().for_each(|command| run_words(command, &entry.link.name));
    }
    network.post_cmds.iter().for_each(|command| run_words(command, ""));
    warn_without_address(&entries, deadline)
}

/// A machine without an address cannot be reached. Its console reports it once, with what can be
/// seen of the cause.
fn warn_without_address(entries: &[Entry<'_>], deadline: Instant) -> Result<()> {
    let nothing_is_said = entries.iter().all(|entry| entry.interface.is_none());
    let asks =
        |entry: &&Entry<'_>| entry.interface.map_or(nothing_is_said, |interface| interface.dhcp);
    let asking: Vec<&Entry<'_>> = entries.iter().filter(asks).collect();
    let has_one = || {
        let mut names = entries.iter().map(|entry| entry.link.name.as_str());
        names.any(|name| addresses::is_known(name) || addresses::has_global_ipv6(name))
    };
    if asking.is_empty() || inotify::wait_for(Path::new(addresses::FOLDER), deadline, has_one)? {
        return Ok(());
    }
    let states: Vec<String> = asking
        .iter()
        .map(|entry| format!("{}: link {}", entry.link.name, links::state(&entry.link.name)))
        .collect();
    log(&format!(
        "network: no address from DHCP within {} s ({}); still requesting one",
        LEASE.as_secs(),
        states.join(", ")
    ));
    Ok(())
}

/// A machine whose configuration matches none of its cards cannot be reached. At least its console
/// reports it.
fn warn_if_nothing_matches(config: &Config, entries: &[Entry<'_>]) {
    let wanted = &config.rancher.network.interfaces;
    if !wanted.is_empty()
        && !entries.is_empty()
        && entries.iter().all(|entry| entry.interface.is_none())
    {
        let keys: Vec<&String> = wanted.keys().collect();
        let here: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} ({})", entry.link.name, entry.link.mac))
            .collect();
        log(&format!(
            "network: no interface matches: the configuration names {keys:?}, this machine has {}",
            here.join(", ")
        ));
    }
}

/// What an interface is given here, for the log. dhcpcd writes what it gets by DHCP.
fn description(interface: &Interface) -> String {
    let mut parts: Vec<String> =
        interface.static_addresses().into_iter().map(str::to_owned).collect();
    for gateway in [&interface.gateway, &interface.gateway_ipv6] {
        if !gateway.is_empty() {
            parts.push(format!("gateway {gateway}"));
        }
    }
    if interface.dhcp {
        parts.push("DHCP".to_owned());
    }
    if parts.is_empty() { "no address".to_owned() } else { parts.join(", ") }
}

fn set_hostname(config: &Config) -> Result<()> {
    let name = config.effective_hostname();
    rustix::system::sethostname(name.as_bytes()).context("setting the host name")?;
    let names = config.host_names().join(" ");
    let hosts = format!(
        "127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\n"
    );
    // Written in place, not by rename: other containers have this very file mounted.
    fs::write("/etc/hosts", hosts).context("writing /etc/hosts")
}

/// True if the owner named DNS servers: those from DHCP are ignored then.
fn write_dns(config: &Config) -> Result<bool> {
    let given = &config.rancher.network.dns;
    let is_given = !given.nameservers.is_empty() || !given.search.is_empty();
    let dns = if is_given { given } else { &config.rancher.defaults.network.dns };
    let mut text = format!("# rancher.{}network.dns\n", if is_given { "" } else { "defaults." });
    if !dns.search.is_empty() {
        text.push_str(&format!("search {}\n", dns.search.join(" ")));
    }
    dns.nameservers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
    fs::write("/etc/resolv.conf", text).context("writing /etc/resolv.conf")?;
    Ok(is_given)
}

/// True for interfaces that the common dhcpcd does not configure.
fn is_left_alone(entry: &Entry<'_>, nothing_is_said: bool) -> bool {
    match entry.interface {
        None => !nothing_is_said,
        Some(interface) => !(interface.dhcp || interface.ipv4ll) || !interface.dhcp_args.is_empty(),
    }
}

fn write_dhcpcd_conf(entries: &[Entry<'_>]) -> Result<()> {
    let mut text = fs::read_to_string("/etc/dhcpcd.conf").context("reading /etc/dhcpcd.conf")?;
    let left_alone = addresses::OF_CONTAINERS.map(|prefix| format!("{prefix}*"));
    text.push_str(&format!("denyinterfaces {}\n", left_alone.join(" ")));
    for entry in entries {
        text.push_str(&dhcpcd_section(&entry.link.name, entry.interface));
    }
    fs::write(DHCPCD_CONF, text).with_context(|| format!("writing {DHCPCD_CONF}"))
}

/// What dhcpcd does on one interface.
fn dhcpcd_section(name: &str, interface: Option<&Interface>) -> String {
    let (dhcp, ipv4ll, metric) = interface
        .map_or((true, false, 0), |interface| (interface.dhcp, interface.ipv4ll, interface.metric));
    let has_gateway = interface.is_some_and(|interface| !interface.gateway.is_empty());
    let mut text = format!("\ninterface {name}\n");
    if !dhcp {
        text.push_str("nodhcp\nnodhcp6\nnoipv6rs\n");
    }
    if !ipv4ll {
        text.push_str("noipv4ll\n");
    }
    if has_gateway {
        // dhcpcd would remove ours for that of the lease.
        text.push_str("nooption routers, classless_static_routes\n");
    }
    if metric > 0 {
        text.push_str(&format!("metric {metric}\n"));
    }
    text
}

fn common_arguments(config: &Config, dns_is_given: bool) -> Vec<&'static str> {
    let mut arguments = Vec::new();
    if config.given_hostname().is_none() {
        arguments.extend(["-e", "force_hostname=true"]);
    } else {
        arguments.extend(["--nohook", "hostname"]);
    }
    if dns_is_given {
        arguments.extend(["--nohook", "resolv.conf"]);
    }
    if config.rancher.debug {
        arguments.push("--debug");
    }
    arguments
}

/// The command of an interface that has a client of its own: the complete `dhcp_args`, or dhcpcd
/// where the common one does not ask.
fn own_client<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    let interface = entry.interface.filter(|interface| interface.dhcp)?;
    match interface.dhcp_args.as_str() {
        "" => addresses::is_of_containers(&entry.link.name).then_some("dhcpcd -MA4"),
        command => Some(command),
    }
}

fn start_own_clients(config: &Config, entries: &[Entry<'_>], dns_is_given: bool) {
    for entry in entries {
        let Some(client) = own_client(entry) else { continue };
        let mut words = words(client).into_iter();
        let mut command = Command::new(words.next().unwrap_or_else(|| "dhcpcd".to_owned()));
        command.args(words).args(common_arguments(config, dns_is_given)).arg(&entry.link.name);
        if let Err(error) = command.stdin(Stdio::null()).spawn() {
            println!("{}: {client}: {error}", entry.link.name);
        }
    }
}

fn dhcpcd(config: &Config, dns_is_given: bool, entries: &[Entry<'_>]) -> Command {
    let mut command = Command::new("/usr/sbin/dhcpcd");
    command.args(["-M", "-B", "-f", DHCPCD_CONF]).args(common_arguments(config, dns_is_given));
    let nothing_is_said = config.rancher.network.interfaces.is_empty();
    for entry in entries.iter().filter(|entry| is_left_alone(entry, nothing_is_said)) {
        command.args(["-Z", &entry.link.name]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_an_interface_is_given() {
        let fixed = Interface {
            address: "192.0.2.2/24".to_owned(),
            gateway: "192.0.2.1".to_owned(),
            ..Interface::default()
        };
        assert_eq!(description(&fixed), "192.0.2.2/24, gateway 192.0.2.1");
        assert_eq!(description(&Interface { dhcp: true, ..Interface::default() }), "DHCP");
        assert_eq!(description(&Interface::default()), "no address");
    }

    #[test]
    fn dhcpcd_gets_a_section_for_each_interface() {
        let interface =
            |dhcp, ipv4ll, metric| Interface { dhcp, ipv4ll, metric, ..Interface::default() };
        for (interface, expected) in [
            (None, "\ninterface eth0\nnoipv4ll\n"),
            (Some(interface(true, false, 20)), "\ninterface eth0\nnoipv4ll\nmetric 20\n"),
            (Some(interface(false, true, 0)), "\ninterface eth0\nnodhcp\nnodhcp6\nnoipv6rs\n"),
        ] {
            assert_eq!(dhcpcd_section("eth0", interface.as_ref()), expected);
        }
    }
}
