//! The hostname of a container. Also /etc/hostname, /etc/hosts and /etc/resolv.conf of one that has
//! names of its own.

use crate::paths;
use crate::spec::{Bind, ContainerSpec};
use anyhow::{Context, Result};
use std::fs;

const FILES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// What a container calls itself.
pub(super) fn hostname(id: &str, spec: &ContainerSpec) -> String {
    match spec.hostname.as_str() {
        // In the host's network the host's name is the one that leads here.
        "" if spec.own_names && spec.host_network => {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        }
        "" => id[..12.min(id.len())].to_owned(),
        name => name.to_owned(),
    }
}

/// The binds of the files that [`write`] wrote. A bind of the container's own takes precedence.
pub(super) fn files(id: &str, spec: &ContainerSpec) -> Vec<Bind> {
    if !spec.own_names {
        return Vec::new();
    }
    let folder = paths::container(id);
    let bound = |target: &str| spec.binds.iter().any(|bind| bind.target == target);
    FILES
        .iter()
        .map(|name| (folder.join(name), format!("/etc/{name}")))
        .filter(|(_, target)| !bound(target))
        .map(|(source, target)| Bind {
            source: source.display().to_string(),
            target,
            ..Bind::default()
        })
        .collect()
}

/// Writes them for the next start. A container of another's network has the names of that one.
pub(super) fn write(id: &str, spec: &ContainerSpec) -> Result<()> {
    if !spec.own_names {
        return Ok(());
    }
    let folder = paths::container(id);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let put = |name: &str, text: &str| {
        fs::write(folder.join(name), text).with_context(|| format!("writing its {name}"))
    };
    put("hostname", &format!("{}\n", hostname(id, spec)))?;
    if !spec.network_of.is_empty() {
        let other = paths::container(&spec.network_of);
        for name in ["hosts", "resolv.conf"] {
            let from = if other.join(name).exists() {
                other.join(name)
            } else {
                format!("/etc/{name}").into()
            };
            put(name, &fs::read_to_string(from).unwrap_or_default())?;
        }
        return Ok(());
    }
    put("hosts", &hosts(id, spec))?;
    put("resolv.conf", &resolver(spec, &fs::read_to_string("/etc/resolv.conf").unwrap_or_default()))
}

fn hosts(id: &str, spec: &ContainerSpec) -> String {
    let mut text = if spec.host_network {
        fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned()
    };
    let gateway = spec.endpoints.first().map(|endpoint| endpoint.gateway.to_string());
    for line in &spec.extra_hosts {
        if let Some((name, address)) = line.split_once([':', '=']) {
            let address = match (address, &gateway) {
                ("host-gateway", Some(gateway)) => gateway.as_str(),
                ("host-gateway", None) => "127.0.0.1",
                (address, _) => address,
            };
            text += &format!("{address}\t{name}\n");
        }
    }
    for link in &spec.links {
        text += &format!("{}\t{} {}\n", link.address, link.alias, link.container);
    }
    let hostname = hostname(id, spec);
    for endpoint in &spec.endpoints {
        let full = if spec.domainname.is_empty() {
            String::new()
        } else {
            format!("{hostname}.{} ", spec.domainname)
        };
        text += &format!("{}\t{full}{hostname}\n", endpoint.address);
        if let Some(v6) = &endpoint.v6 {
            text += &format!("{}\t{full}{hostname}\n", v6.address);
        }
    }
    text
}

/// A container's resolv.conf. On a user-defined network: the embedded DNS server on the bridge.
/// Otherwise the servers of its specification. Otherwise the host's, without loopback addresses,
/// which a container with its own network cannot reach.
fn resolver(spec: &ContainerSpec, of_host: &str) -> String {
    let of_host_lines = |word: &str| -> Vec<String> {
        let lines = of_host.lines().filter_map(|line| line.strip_prefix(word));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let servers = match spec.endpoints.iter().find(|endpoint| endpoint.has_dns) {
        Some(endpoint) => vec![endpoint.gateway.to_string()],
        None if !spec.dns.servers.is_empty() => spec.dns.servers.clone(),
        None => {
            let mut servers = of_host_lines("nameserver");
            if !spec.host_network {
                servers.retain(|server| !server.starts_with("127.") && server != "::1");
            }
            servers
        }
    };
    let search =
        if spec.dns.search.is_empty() { of_host_lines("search") } else { spec.dns.search.clone() };
    let options = if spec.dns.options.is_empty() {
        of_host_lines("options")
    } else {
        spec.dns.options.clone()
    };
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (word, list) in [("search", search), ("options", options)] {
        if !list.is_empty() && list != ["."] {
            text += &format!("{word} {}\n", list.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Dns, Endpoint, EndpointRequest, MacAddress};
    use std::net::Ipv4Addr;

    #[test]
    fn whom_a_container_asks_depends_on_its_network() {
        let host = "search lan\nnameserver 127.0.0.53\nnameserver 10.0.2.3\n";
        let plain = ContainerSpec::default();
        assert_eq!(resolver(&plain, host), "nameserver 10.0.2.3\nsearch lan\n");
        let servers = vec!["1.1.1.1".to_owned()];
        let own =
            ContainerSpec { dns: Dns { servers, ..Dns::default() }, ..ContainerSpec::default() };
        assert_eq!(resolver(&own, host), "nameserver 1.1.1.1\nsearch lan\n");
        let endpoint = Endpoint {
            network: "own".to_owned(),
            network_id: "1".to_owned(),
            endpoint_id: "2".to_owned(),
            bridge: "br-1".to_owned(),
            address: Ipv4Addr::new(172, 19, 0, 2),
            prefix: 16,
            gateway: Ipv4Addr::new(172, 19, 0, 1),
            mac: MacAddress::default(),
            aliases: Vec::new(),
            has_dns: true,
            internal: false,
            mtu: 0,
            v6: None,
            links: Vec::new(),
            requested: EndpointRequest::default(),
        };
        let named = ContainerSpec { endpoints: vec![endpoint], ..ContainerSpec::default() };
        assert_eq!(resolver(&named, host), "nameserver 172.19.0.1\nsearch lan\n");
    }
}
