//! The network of a service: `net` (v1), `network_mode`, `networks`; its ports and links.

use super::error::ComposeError;
use super::reader::Reader;
use crate::service::{Attachment, Link, Network, Port};
use corral_config::yaml::{Kind, Node};

/// Ports that one line may publish.
const MAX_RANGE: u16 = 1024;

impl Reader<'_> {
    pub(super) fn network_of(&mut self, service: &Node) -> Result<Network, ComposeError> {
        let mode = service.get("network_mode").or_else(|| service.get("net"));
        let word = mode.map_or(Ok(String::new()), |mode| self.string(mode))?;
        match (word.as_str(), mode) {
            ("host", _) => Ok(Network::Host),
            ("none", _) => Ok(Network::None),
            ("bridge", _) => Ok(Network::default_bridge()),
            ("" | "default", _) => self.attachments(service.get("networks")),
            (other, Some(mode)) => match other.split_once(':') {
                Some(("service" | "container", name)) if !name.is_empty() => {
                    Ok(Network::Service(name.to_owned()))
                }
                _ => Err(self.error(
                    mode.at,
                    format!(
                        "network {other:?} is not one of host, none, bridge, service:NAME, \
                         container:NAME"
                    ),
                )),
            },
            (_, None) => Ok(Network::default_bridge()),
        }
    }

    fn attachments(&mut self, networks: Option<&Node>) -> Result<Network, ComposeError> {
        let named: Vec<(String, &Node)> = match networks.map(|node| (node, &node.kind)) {
            None | Some((_, Kind::Null)) => Vec::new(),
            Some((_, Kind::Mapping(items))) => {
                items.iter().map(|(name, node)| (name.clone(), node)).collect()
            }
            Some((node, _)) => {
                let items = self.items(node)?;
                items.iter().map(|item| Ok((self.string(item)?, item))).collect::<Result<_, _>>()?
            }
        };
        if named.is_empty() {
            let own = self.project.networks.get("default").filter(|_| self.project.has_own_network);
            return Ok(own.map_or_else(Network::default_bridge, |network| {
                Network::Bridges(vec![Attachment {
                    network: network.clone(),
                    ..Attachment::default()
                }])
            }));
        }
        named
            .into_iter()
            .map(|(name, node)| self.attachment(&name, node))
            .collect::<Result<_, _>>()
            .map(Network::Bridges)
    }

    fn attachment(&mut self, name: &str, node: &Node) -> Result<Attachment, ComposeError> {
        let Some(network) = self.project.networks.get(name).cloned() else {
            return Err(
                self.error(node.key_at, format!("network {name:?} is not defined in this file"))
            );
        };
        let mut attachment = Attachment { network, ..Attachment::default() };
        let Kind::Mapping(items) = &node.kind else { return Ok(attachment) };
        for (key, value) in items {
            match key.as_str() {
                "aliases" => attachment.aliases = self.strings(value)?,
                "ipv4_address" => attachment.address = self.ipv4(value, "an IPv4 address")?,
                other if other.starts_with("x-") => {}
                other => {
                    self.warn(value.key_at, format!("network {name}: {other}: has no effect here"))
                }
            }
        }
        Ok(attachment)
    }

    pub(super) fn links(&self, node: &Node) -> Result<Vec<Link>, ComposeError> {
        let link = |text: String| {
            let (container, alias) = text.split_once(':').unwrap_or((&text, &text));
            Link { container: container.to_owned(), alias: alias.to_owned() }
        };
        Ok(self.strings(node)?.into_iter().map(link).collect())
    }

    pub(super) fn ports(&self, node: &Node) -> Result<Vec<Port>, ComposeError> {
        let mut ports = Vec::new();
        for item in self.items(node)? {
            match &item.kind {
                Kind::Mapping(_) => ports.extend(self.long_port(item)?),
                _ => ports.extend(self.short_port(item, &self.string(item)?)?),
            }
        }
        Ok(ports)
    }

    /// `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`; either may be a range.
    fn short_port(&self, node: &Node, text: &str) -> Result<Vec<Port>, ComposeError> {
        let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (before, container) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (address, host) = match before.rsplit_once(':') {
            Some((address, host)) => (address.trim_start_matches('[').trim_end_matches(']'), host),
            None => ("", before),
        };
        self.publish(node, (address, host), container, protocol)
    }

    fn long_port(&self, node: &Node) -> Result<Vec<Port>, ComposeError> {
        let get = |key: &str| node.get(key).map_or(Ok(String::new()), |value| self.string(value));
        let (host, address, mut protocol) = (get("published")?, get("host_ip")?, get("protocol")?);
        if protocol.is_empty() {
            "tcp".clone_into(&mut protocol);
        }
        self.publish(node, (&address, &host), &get("target")?, &protocol)
    }

    fn publish(
        &self,
        node: &Node,
        (address, host): (&str, &str),
        container: &str,
        protocol: &str,
    ) -> Result<Vec<Port>, ComposeError> {
        if !["tcp", "udp"].contains(&protocol) {
            return Err(
                self.error(node.at, format!("protocol {protocol:?} is not one of tcp, udp"))
            );
        }
        let containers = self.range(node, container)?;
        let hosts =
            if host.is_empty() { vec![0; containers.len()] } else { self.range(node, host)? };
        if hosts.len() != containers.len() && containers.len() != 1 {
            return Err(self.error(node.at, "both ranges of ports must have the same length"));
        }
        // A range of the host for one port of the container: the first of it.
        let pairs = hosts.into_iter().zip(containers);
        Ok(pairs
            .map(|(host_port, container_port)| Port {
                host_ip: address.to_owned(),
                host_port,
                container_port,
                protocol: protocol.to_owned(),
            })
            .collect())
    }

    fn range(&self, node: &Node, text: &str) -> Result<Vec<u16>, ComposeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first > 0 && first <= last && last - first < MAX_RANGE => {
                Ok((first..=last).collect())
            }
            _ => Err(self.error(
                node.at,
                format!("{text:?} is not a port or a range of ports such as 8000-8010"),
            )),
        }
    }
}
