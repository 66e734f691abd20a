//! Published ports and the way out, as rules of the kernel's packet filter. Our chains are a
//! function of the containers that run. `iptables-restore` applies them all at once. It is the same
//! program that the user's Docker uses, so each sees what the other did.

use super::record::{Network, members};
use anyhow::{Context, Result, bail};
use corral_engine::spec::Snapshot;
use corral_machine::program;
use std::fmt::Write as _;
use std::fs;
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

/// The rules that the running containers need, as `iptables-restore` reads them. None if no running
/// container is in a network.
pub(super) fn rules(networks: &[Network], containers: &[Arc<Snapshot>]) -> Option<String> {
    let running: Vec<Arc<Snapshot>> =
        containers.iter().filter(|each| each.status.is_up()).cloned().collect();
    let used: Vec<&Network> =
        networks.iter().filter(|network| members(network, &running).next().is_some()).collect();
    if used.is_empty() {
        return None;
    }
    let mut text =
        String::from("*nat\n:CORRAL-IN - [0:0]\n:CORRAL-OUT - [0:0]\n:CORRAL-POST - [0:0]\n");
    for (matching, target) in published(&used, &running) {
        let _ = writeln!(text, "-A CORRAL-IN {matching} -j DNAT --to-destination {target}");
        let _ = writeln!(
            text,
            "-A CORRAL-OUT ! -d 127.0.0.0/8 {matching} -j DNAT --to-destination {target}"
        );
    }
    for network in &used {
        let (Some(subnet), bridge) = (network.subnet, &network.bridge) else { continue };
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

/// Published ports: what is matched, and where it goes.
fn published(used: &[&Network], running: &[Arc<Snapshot>]) -> Vec<(String, String)> {
    let mut rules = Vec::new();
    for container in running {
        let endpoint = container.spec.endpoints.iter().find(|endpoint| {
            used.iter().any(|network| network.id == endpoint.network_id && !network.internal)
        });
        let Some(endpoint) = endpoint else { continue };
        for port in container.spec.ports.iter().filter(|port| port.host_port > 0) {
            let to = match port.host_ip.as_str() {
                "" | "0.0.0.0" | "::" => "-m addrtype --dst-type LOCAL".to_owned(),
                address if address.contains(':') => continue,
                address => format!("-d {address}/32"),
            };
            rules.push((
                format!("{to} -p {} --dport {}", port.protocol, port.host_port),
                format!("{}:{}", endpoint.address, port.container_port),
            ));
        }
    }
    rules
}

/// Applies the rules; None: our chains are empty.
pub(super) fn apply(rules: &Option<String>) -> Result<()> {
    let Some(rules) = rules else {
        let empty: String = CHAINS
            .iter()
            .map(|(table, chain, _)| format!("*{table}\n:{chain} - [0:0]\nCOMMIT\n"))
            .collect();
        return restore(&empty);
    };
    // Without this the kernel passes nothing on between interfaces.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("enabling IP forwarding")?;
    restore(rules)?;
    for (table, chain, from) in CHAINS {
        ensure_jump(table, from, chain)?;
    }
    Ok(())
}

fn ensure_jump(table: &str, from: &str, chain: &str) -> Result<()> {
    if iptables(&["-t", table, "-C", from, "-j", chain]).is_ok() {
        return Ok(());
    }
    iptables(&["-t", table, "-I", from, "-j", chain])
}

fn restore(script: &str) -> Result<()> {
    let mut command = command("iptables-restore")?;
    program::feed(command.args(["--wait", "5", "--noflush"]), script.as_bytes()).map(drop)
}

fn iptables(arguments: &[&str]) -> Result<()> {
    program::run(command("iptables")?.args(["--wait", "5"]).args(arguments)).map(drop)
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
    use corral_engine::spec::{ContainerSpec, Endpoint, MacAddress, Port, State, Status};
    use std::net::Ipv4Addr;

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
        let running = Arc::new(Snapshot { id: "x".to_owned(), spec: spec.clone(), status });
        let text = rules(&networks, &[running]).unwrap();
        assert!(
            text.contains(
                "--dst-type LOCAL -p tcp --dport 8080 -j DNAT --to-destination 172.18.0.1:80"
            ),
            "{text}"
        );
        assert!(text.contains("-s 172.18.0.0/16 ! -o docker-sys -j MASQUERADE"), "{text}");
        let ended = Arc::new(Snapshot { id: "x".to_owned(), spec, status: Status::default() });
        assert_eq!(rules(&networks, &[ended]), None);
    }
}
