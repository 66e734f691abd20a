//! What a compose file says besides its services: networks, volumes, secrets and configs.

use super::error::ComposeError;
use super::reader::{Items, Reader};
use crate::resolved::Environment;
use crate::service::BridgeNetwork;
use corral_config::yaml::Node;

/// The name of the project that all services of a machine belong to. The names of what they share
/// begin with it.
const PROJECT: &str = "system";

impl Reader<'_> {
    /// Reads the top level; the services come back as they are written.
    pub(super) fn project(
        &mut self,
        top: &Items,
        table: &Environment,
    ) -> Result<Vec<(String, Node)>, ComposeError> {
        self.project.has_own_network = true;
        self.project.networks.insert("default".to_owned(), own_network("default"));
        let mut services = Vec::new();
        for (key, node) in top {
            match key.as_str() {
                "services" => services = self.optional_mapping(node)?.to_vec(),
                "version" | "name" => {}
                other if other.starts_with("x-") => {}
                "networks" | "volumes" | "secrets" | "configs" => {
                    let node = self.interpolate(node, "", table)?;
                    self.definitions(key, &node)?;
                }
                "include" => self.warn(
                    node.key_at,
                    "include: unsupported; list each file in rancher.services_include".to_owned(),
                ),
                other => self.warn(node.key_at, format!("{other}: unknown key")),
            }
        }
        Ok(services)
    }

    fn definitions(&mut self, kind: &str, node: &Node) -> Result<(), ComposeError> {
        for (name, definition) in self.optional_mapping(node)? {
            match kind {
                "networks" => {
                    let network = self.network(name, definition)?;
                    self.project.networks.insert(name.clone(), network);
                }
                "volumes" => {
                    let volume = self.volume_definition(name, definition)?;
                    self.project.volumes.insert(name.clone(), volume);
                }
                _ => self.file_definition(kind, name, definition)?,
            }
        }
        Ok(())
    }

    fn network(&mut self, name: &str, node: &Node) -> Result<BridgeNetwork, ComposeError> {
        let mut network = own_network(name);
        for (key, value) in self.optional_mapping(node)? {
            match key.as_str() {
                "name" => network.name = self.string(value)?,
                "external" => {
                    network.external = self.external(value, &mut network.name)?;
                    if network.external && network.name == own_network(name).name {
                        name.clone_into(&mut network.name);
                    }
                }
                "internal" => network.internal = self.boolean(value)?,
                "labels" => network.labels = self.map(value)?,
                "ipam" => self.addresses(value, &mut network)?,
                "driver" => {
                    let driver = self.string(value)?;
                    if !["", "bridge", "default"].contains(&driver.as_str()) {
                        return Err(self.error(
                            value.at,
                            format!("network {name}: driver {driver}: only bridge is supported"),
                        ));
                    }
                }
                "attachable" | "driver_opts" | "enable_ipv4" | "enable_ipv6" => {
                    self.warn(value.key_at, format!("network {name}: {key}: has no effect here"));
                }
                other if other.starts_with("x-") => {}
                other => self.warn(value.key_at, format!("network {name}: {other}: unknown key")),
            }
        }
        Ok(network)
    }

    fn addresses(&mut self, node: &Node, network: &mut BridgeNetwork) -> Result<(), ComposeError> {
        for (key, value) in self.optional_mapping(node)? {
            if key != "config" {
                continue;
            }
            let pools = self.items(value)?;
            if pools.len() > 1 {
                self.warn(value.at, "only the first of these subnets is used".to_owned());
            }
            for (key, value) in pools.first().map_or(Ok(&[][..]), |pool| self.mapping(pool))? {
                match key.as_str() {
                    "subnet" => {
                        network.subnet = self.ipv4(value, "a subnet such as 10.1.0.0/16")?
                    }
                    "gateway" => network.gateway = self.ipv4(value, "an IPv4 address")?,
                    other => self.warn(value.key_at, format!("ipam: {other}: has no effect here")),
                }
            }
        }
        Ok(())
    }

    /// `external: true`, or the old `external: {name: x}`.
    fn external(&self, node: &Node, name: &mut String) -> Result<bool, ComposeError> {
        match node.get("name") {
            Some(inner) => {
                *name = self.string(inner)?;
                Ok(true)
            }
            None => self.boolean(node),
        }
    }

    fn volume_definition(&mut self, name: &str, node: &Node) -> Result<String, ComposeError> {
        let own = format!("{PROJECT}_{name}");
        let mut result = own.clone();
        for (key, value) in self.optional_mapping(node)? {
            match key.as_str() {
                "name" => result = self.string(value)?,
                "external" => {
                    if self.external(value, &mut result)? && result == own {
                        name.clone_into(&mut result);
                    }
                }
                "labels" => {}
                "driver" if ["", "local"].contains(&self.string(value)?.as_str()) => {}
                "driver" | "driver_opts" => {
                    return Err(self.error(
                        value.at,
                        format!("volume {name}: {key}: only plain local volumes are supported"),
                    ));
                }
                other if other.starts_with("x-") => {}
                other => self.warn(value.key_at, format!("volume {name}: {other}: unknown key")),
            }
        }
        Ok(result)
    }

    /// A secret or a config: a file of the host.
    fn file_definition(&mut self, kind: &str, name: &str, node: &Node) -> Result<(), ComposeError> {
        let file = node.get("file").map(|file| self.string(file)).transpose()?;
        match file {
            Some(path) if path.starts_with('/') => {
                let to = if kind == "secrets" {
                    &mut self.project.secrets
                } else {
                    &mut self.project.configs
                };
                to.insert(name.to_owned(), path);
                Ok(())
            }
            _ => Err(self.error(
                node.at,
                format!(
                    "{kind}: {name}: expected `file` with an absolute path; other sources are not \
                     supported (write_files can create the file)"
                ),
            )),
        }
    }
}

fn own_network(name: &str) -> BridgeNetwork {
    BridgeNetwork { name: format!("{PROJECT}_{name}"), ..BridgeNetwork::default() }
}
