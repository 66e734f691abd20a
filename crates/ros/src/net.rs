//! `ros net`: interfaces, their addresses and who gave them, routes, DNS servers. It shows nothing
//! that `ip` does not show to every user, so it needs no root.

mod ip;
mod origin;
mod resolver;

use crate::applets::netconf::addresses::is_of_containers;
use anyhow::Result;
use corral_machine::program;
use corral_terminal::output::{Output, table};
use ip::{Link, Route};
pub(crate) use origin::Origin;
use resolver::Dns;
use serde::Serialize;

/// The network of this machine.
#[derive(Debug, Serialize)]
pub(crate) struct Network {
    pub(crate) interfaces: Vec<Interface>,
    routes: Vec<Route>,
    dns: Dns,
}

/// An interface; the loopback interface is left out.
#[derive(Debug, Serialize)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// As the kernel has it: `UP`, `DOWN`, `UNKNOWN`.
    state: String,
    mac: String,
    mtu: u32,
    /// It belongs to containers of one of the engines.
    pub(crate) of_containers: bool,
    pub(crate) addresses: Vec<Address>,
}

/// An address, with the length of its prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) origin: Origin,
}

impl Network {
    /// As it is now.
    pub(crate) fn load() -> Result<Network> {
        let known = origin::Known::load();
        let links: Vec<Link> = ip::parse(&ip(&["address", "show"])?)?;
        let mut routes: Vec<Route> = ip::parse(&ip(&["-4", "route", "show"])?)?;
        // A kernel without IPv6 has no routes of it.
        routes.extend(ip::parse(&ip(&["-6", "route", "show"]).unwrap_or_default())?);
        let interfaces = links
            .into_iter()
            .filter(|link| !link.is_loopback())
            .map(|link| interface(link, &known))
            .collect();
        Ok(Network { interfaces, routes, dns: resolver::load() })
    }
}

fn interface(link: Link, known: &origin::Known) -> Interface {
    let of_containers = is_of_containers(&link.ifname);
    let address = |info: &ip::AddressInfo| Address {
        address: info.with_prefix(),
        origin: known.origin(&link.ifname, info),
    };
    let addresses = link.addr_info.iter().map(address).collect();
    let Link { ifname: name, operstate: state, address: mac, mtu, .. } = link;
    Interface { name, state, mac, mtu, of_containers, addresses }
}

/// ip(8), which prints JSON.
fn ip(arguments: &[&str]) -> Result<String> {
    program::run(program::of_system("/usr/bin/ip").arg("-json").args(arguments))
}

/// `ros net`.
pub(crate) fn show(output: Output) -> Result<()> {
    output.print(&Network::load()?, print)
}

fn print(network: &Network) {
    let mut rows = vec![["INTERFACE", "STATE", "MAC", "ADDRESS", "FROM"].map(str::to_owned)];
    for interface in &network.interfaces {
        let mut first = [interface.name.clone(), interface.state.clone(), interface.mac.clone()];
        if interface.addresses.is_empty() {
            let [name, state, mac] = first;
            rows.push([name, state, mac, "-".to_owned(), String::new()]);
            continue;
        }
        for address in &interface.addresses {
            let [name, state, mac] = std::mem::take(&mut first);
            rows.push([name, state, mac, address.address.clone(), address.origin.to_string()]);
        }
    }
    print!("{}", table(&rows));
    let mut rows = vec![["DESTINATION", "GATEWAY", "INTERFACE", "FROM"].map(str::to_owned)];
    rows.extend(network.routes.iter().map(|route| {
        let gateway = route.gateway.clone().unwrap_or_else(|| "-".to_owned());
        [route.dst.clone(), gateway, route.dev.clone(), route.protocol.clone()]
    }));
    print!("\n{}", table(&rows));
    let named = |list: &[String]| if list.is_empty() { "-".to_owned() } else { list.join(" ") };
    println!("\nDNS servers   {}", named(&network.dns.nameservers));
    println!("DNS search    {}", named(&network.dns.search));
    println!("DNS from      {}", network.dns.origin);
}
