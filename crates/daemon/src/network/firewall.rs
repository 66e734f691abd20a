//! Published ports and the way out, as rules of the kernel's packet filter. Our chains are a
//! function of the containers that run. `iptables-restore` applies them all at once. It is the same
//! program that the user's Docker uses, so each sees what the other did.

use super::record::{self, Network, members};
use anyhow::{Context, Result, bail};
use corral_engine::spec::Snapshot;
use corral_machine::program;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Our chains, and from which of the kernel's they are reached: table, ours, the kernel's.
const CHAINS: [(&str, &str, &str); 4] = [
    ("nat", "CORRAL-IN", "PREROUTING"),
    ("nat", "CORRAL-OUT", "OUTPUT"),
    ("nat", "CORRAL-POST", "POSTROUTING"),
    ("filter", "CORRAL-FORWARD", "FORWARD"),
];

/// The two families of addresses have tables of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn subnet(self, network: &Network) -> Option<String> {
        match self {
            Family::V4 => network.subnet.map(|subnet| subnet.to_string()),
            Family::V6 => network.subnet_v6.map(|subnet| subnet.to_string()),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    fn loopback(self) -> &'static str {
        match self {
            Family::V4 => "127.0.0.0/8",
            Family::V6 => "::1/128",
        }
    }
}

/// The rules of both families; None where no running container needs any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rules {
    v4: Option<String>,
    v6: Option<String>,
}

impl Rules {
    pub(super) fn has_v6(&self) -> bool {
        self.v6.is_some()
    }
}

/// The rules that the running containers need.
pub(super) fn rules(networks: &[Network], containers: &[Arc<Snapshot>]) -> Rules {
    let of = |family| rules_of(family, networks, containers);
    Rules { v4: of(Family::V4), v6: of(Family::V6) }
}

/// As `iptables-restore` reads them. None if no running container is in a network of the family.
fn rules_of(family: Family, networks: &[Network], containers: &[Arc<Snapshot>]) -> Option<String> {
    let running: Vec<Arc<Snapshot>> =
        containers.iter().filter(|each| each.status.is_up()).cloned().collect();
    let used: Vec<&Network> =
        networks.iter().filter(|network| is_used(family, network, &running)).collect();
    if used.is_empty() {
        return None;
    }
    let mut text =
        String::from("*nat\n:CORRAL-IN - [0:0]\n:CORRAL-OUT - [0:0]\n:CORRAL-POST - [0:0]\n");
    for (to, matching, target) in published(family, &used, &running) {
        // One `-d` only: a port of one address needs no exception.
        let from_host = match to.is_empty() {
            true => format!("! -d {} -m addrtype --dst-type LOCAL", family.loopback()),
            false => to.clone(),
        };
        let to = if to.is_empty() { "-m addrtype --dst-type LOCAL" } else { &to };
        for (chain, to) in [("CORRAL-IN", to), ("CORRAL-OUT", &from_host)] {
            let _ = writeln!(text, "-A {chain} {to} {matching} -j DNAT --to-destination {target}");
        }
    }
    for network in &used {
        let (Some(subnet), bridge) = (family.subnet(network), &network.bridge) else { continue };
        if !network.internal {
            let _ = writeln!(text, "-A CORRAL-POST -s {subnet} ! -o {bridge} -j MASQUERADE");
        }
        // A container that calls a port of the host that is its own neighbour's, or its own.
        let _ = writeln!(
            text,
            "-A CORRAL-POST -s {subnet} -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE"
        );
    }
    text += "COMMIT\n*filter\n:CORRAL-FORWARD - [0:0]\n";
    text += &forwarded(&used);
    text += "COMMIT\n";
    Some(text)
}

fn is_used(family: Family, network: &Network, running: &[Arc<Snapshot>]) -> bool {
    let mut endpoints = members(network, running).map(|(_, endpoint)| endpoint);
    match family {
        Family::V4 => endpoints.next().is_some(),
        Family::V6 => endpoints.any(|endpoint| endpoint.v6.is_some()),
    }
}

/// Networks do not see each other, but for published ports. An internal one sees nothing else.
fn forwarded(used: &[&Network]) -> String {
    let mut text = String::new();
    for network in used {
        let _ = writeln!(
            text,
            "-A CORRAL-FORWARD -o {} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
            network.bridge
        );
    }
    for network in used {
        let bridge = &network.bridge;
        for other in used.iter().filter(|other| other.bridge != *bridge) {
            let _ = writeln!(text, "-A CORRAL-FORWARD -i {bridge} -o {} -j DROP", other.bridge);
        }
        if network.internal {
            let _ = writeln!(text, "-A CORRAL-FORWARD -i {bridge} ! -o {bridge} -j DROP");
            let _ = writeln!(text, "-A CORRAL-FORWARD ! -i {bridge} -o {bridge} -j DROP");
        }
        let _ = writeln!(text, "-A CORRAL-FORWARD -i {bridge} -j ACCEPT");
    }
    text
}

/// Published ports: the host's address (empty: every one), what else is matched, and where it goes.
/// Those of the loopback addresses are not for the packet filter: see `loopback`.
fn published(
    family: Family,
    used: &[&Network],
    running: &[Arc<Snapshot>],
) -> Vec<(String, String, String)> {
    let mut rules = Vec::new();
    for container in running {
        let Some(endpoint) = record::published(container, used) else { continue };
        for port in container.spec.ports.iter().filter(|port| port.host_port > 0) {
            let to = match (port.host_ip.as_str(), port.host_ip.parse(), family) {
                ("" | "0.0.0.0" | "::", ..) => String::new(),
                (_, Ok(address), _) if IpAddr::is_loopback(&address) => continue,
                (text, Ok(IpAddr::V4(_)), Family::V4) => format!("-d {text}/32"),
                (text, Ok(IpAddr::V6(_)), Family::V6) => format!("-d {text}/128"),
                _ => continue,
            };
            let target = match (family, endpoint.v6) {
                (Family::V4, _) => format!("{}:{}", endpoint.address, port.container_port),
                (Family::V6, Some(v6)) => format!("[{}]:{}", v6.address, port.container_port),
                (Family::V6, None) => continue,
            };
            rules.push((to, format!("-p {} --dport {}", port.protocol, port.host_port), target));
        }
    }
    rules
}

/// Applies the rules; None: our chains are empty. Those of IPv6 are left alone where there are none
/// and were none.
pub(super) fn apply(rules: &Rules, had_v6: bool) -> Result<()> {
    apply_of(Family::V4, rules.v4.as_deref())?;
    match &rules.v6 {
        Some(rules) => apply_of(Family::V6, Some(rules)),
        None if had_v6 => {
            // A host that has no such rules has none to be removed either.
            let _ = apply_of(Family::V6, None);
            Ok(())
        }
        None => Ok(()),
    }
}

fn apply_of(family: Family, rules: Option<&str>) -> Result<()> {
    let Some(rules) = rules else {
        let empty: String = CHAINS
            .iter()
            .map(|(table, chain, _)| format!("*{table}\n:{chain} - [0:0]\nCOMMIT\n"))
            .collect();
        return restore(family, &empty);
    };
    forward(family)?;
    restore(family, rules)?;
    for (table, chain, from) in CHAINS {
        ensure_jump(family, table, from, chain)?;
    }
    Ok(())
}

/// Without this the kernel passes nothing on between interfaces.
fn forward(family: Family) -> Result<()> {
    if family == Family::V4 {
        return fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .context("letting the kernel forward packets");
    }
    // A router ignores router advertisements, from which the host itself may have its address: 2
    // accepts them all the same.
    for item in fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
        let file = item.path().join("accept_ra");
        if fs::read_to_string(&file).is_ok_and(|value| value.trim() == "1") {
            fs::write(&file, "2").with_context(|| format!("writing {}", file.display()))?;
        }
    }
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        .context("letting the kernel forward IPv6 packets")
}

fn ensure_jump(family: Family, table: &str, from: &str, chain: &str) -> Result<()> {
    if iptables(family, &["-t", table, "-C", from, "-j", chain]).is_ok() {
        return Ok(());
    }
    iptables(family, &["-t", table, "-I", from, "-j", chain])
}

fn restore(family: Family, script: &str) -> Result<()> {
    let mut command = command(&format!("{}-restore", family.program()))?;
    program::feed(command.args(["--wait", "5", "--noflush"]), script.as_bytes()).map(drop)
}

fn iptables(family: Family, arguments: &[&str]) -> Result<()> {
    program::run(command(family.program())?.args(["--wait", "5"]).args(arguments)).map(drop)
}

/// The host's own program, or that of our images by its own loader: nothing of the host is needed
/// to run it.
fn command(name: &str) -> Result<Command> {
    let own = format!("/usr/sbin/{name}");
    if Path::new(&own).exists() {
        return Ok(Command::new(own));
    }
    let layers = ["console", "base"].map(|layer| format!("/usr/share/ros/layers/{layer}/usr"));
    let inside = format!("{}/sbin/xtables-nft-multi", layers[0]);
    if !Path::new(&inside).exists() {
        bail!("iptables not found: ports cannot be published");
    }
    let libraries =
        layers.each_ref().map(|layer| format!("{layer}/lib/x86_64-linux-gnu")).join(":");
    let mut command = Command::new(format!("{}/lib64/ld-linux-x86-64.so.2", layers[1]));
    command.args(["--library-path", &libraries, &inside, name]);
    command.env("XTABLES_LIBDIR", format!("{}/lib/x86_64-linux-gnu/xtables", layers[0]));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::spec::{
        ContainerSpec, Endpoint, EndpointV6, MacAddress, Port, State, Status,
    };
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn a_published_port_leads_to_the_container() {
        let networks = super::super::record::predefined();
        let spec = ContainerSpec {
            endpoints: vec![Endpoint {
                network: "bridge".to_owned(),
                network_id: networks[0].id.clone(),
                endpoint_id: "1".to_owned(),
                bridge: "docker-sys".to_owned(),
                address: Ipv4Addr::new(172, 18, 0, 1),
                prefix: 16,
                gateway: Ipv4Addr::new(172, 18, 42, 1),
                mac: MacAddress::default(),
                aliases: Vec::new(),
                has_dns: false,
                internal: false,
                mtu: 0,
                v6: None,
                links: Vec::new(),
                requested: Default::default(),
            }],
            ports: vec![Port {
                host_port: 8080,
                container_port: 80,
                protocol: "tcp".to_owned(),
                ..Port::default()
            }],
            ..ContainerSpec::default()
        };
        let status = Status { state: State::Running, ..Status::default() };
        let (up, first) = (status.clone(), spec.clone());
        let running = Arc::new(Snapshot { id: "x".to_owned(), spec: first, status: up });
        let text = rules(&networks, &[running]).v4.unwrap();
        assert!(
            text.contains(
                "--dst-type LOCAL -p tcp --dport 8080 -j DNAT --to-destination 172.18.0.1:80"
            ),
            "{text}"
        );
        assert!(text.contains("-s 172.18.0.0/16 ! -o docker-sys -j MASQUERADE"), "{text}");
        let on = |host_ip: &str, has_v6: bool| {
            let mut spec = spec.clone();
            spec.ports[0].host_ip = host_ip.to_owned();
            let v6 = EndpointV6 {
                address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
                prefix: 64,
                gateway: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
            };
            spec.endpoints[0].v6 = has_v6.then_some(v6);
            let running = Arc::new(Snapshot { id: "x".to_owned(), spec, status: status.clone() });
            rules(&networks, &[running])
        };
        let one = on("10.0.0.1", false).v4.unwrap();
        assert!(one.contains("-A CORRAL-OUT -d 10.0.0.1/32 -p tcp --dport 8080"), "{one}");
        assert!(!on("127.0.0.1", false).v4.unwrap().contains("8080"), "the daemon does that");
        let both = on("", true);
        assert!(both.v6.unwrap().contains("--to-destination [fd00::2]:80") && both.v4.is_some());
        let ended = Arc::new(Snapshot { id: "x".to_owned(), spec, status: Status::default() });
        assert_eq!(rules(&networks, &[ended]), Rules { v4: None, v6: None });
    }
}
