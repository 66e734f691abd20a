//! What is meant: the typed configuration. No field is optional that has a default.

use crate::names::Hostname;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    pub ssh_authorized_keys: Vec<String>,
    pub write_files: Vec<WriteFile>,
    pub runcmd: Vec<Command>,
    pub rancher: Rancher,
}

/// A file to write at each start of its container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriteFile {
    pub path: String,
    pub content: String,
    pub permissions: String,
    pub owner: String,
    pub container: String,
}

impl Default for WriteFile {
    fn default() -> Self {
        WriteFile {
            path: String::new(),
            content: String::new(),
            permissions: "0644".to_owned(),
            owner: String::new(),
            container: "console".to_owned(),
        }
    }
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// Given to `sh -c`.
    Shell(String),
    /// Executed as it is.
    Words(Vec<String>),
}

/// What is this system's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rancher {
    pub debug: bool,
    pub autologin: Vec<String>,
    pub password: String,
    pub modules: Vec<String>,
    pub sysctl: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    pub services: BTreeMap<String, Value>,
    pub shutdown_timeout: u64,
    pub cloud_init: CloudInit,
    pub state: State,
    pub network: Network,
    pub defaults: Defaults,
    pub ssh: Ssh,
    pub docker: Docker,
}

/// Where to look for a configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudInit {
    pub datasources: Vec<String>,
}

/// The state disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Empty: the machine runs from memory.
    pub dev: String,
    pub fstype: String,
    pub wait: bool,
    pub required: bool,
    pub autoformat: Vec<String>,
}

/// Addresses and names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    pub interfaces: BTreeMap<String, Interface>,
    pub dns: Dns,
    pub http_proxy: String,
    pub https_proxy: String,
    pub no_proxy: String,
}

/// An interface, or a pattern of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    pub dhcp: bool,
    pub address: String,
    pub addresses: Vec<String>,
    pub gateway: String,
    pub gateway_ipv6: String,
    /// 0: as the driver says.
    pub mtu: u32,
}

/// Name servers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    pub nameservers: Vec<String>,
    pub search: Vec<String>,
}

/// Fall-backs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    pub hostname: String,
    pub network: Network,
}

/// The ssh server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ssh {
    pub daemon: bool,
    pub keys: BTreeMap<String, String>,
    /// 0: sshd's own default, 22.
    pub port: u16,
    pub listen_address: String,
}

/// The user's Docker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Docker {
    pub extra_args: Vec<String>,
    pub environment: Vec<String>,
    pub host: Vec<String>,
    pub group: String,
    pub debug: bool,
    pub graph: String,
    pub bridge: String,
    pub bip: String,
    pub insecure_registry: Vec<String>,
    pub registry_mirror: String,
    pub live_restore: bool,
    pub log_driver: String,
    pub log_opts: BTreeMap<String, String>,
    pub storage_driver: String,
    pub userland_proxy: bool,
    pub storage_context: String,
    pub tls: bool,
}

impl Config {
    /// Fills in the model from a merged tree in which every value has its type (see `schema::check`).
    pub fn from_value(value: Value) -> Config {
        // The schema admits no value that the model refuses, but for numbers out of range: those lose their section.
        serde_json::from_value(value.clone()).unwrap_or_else(|_| salvage(&value))
    }

    /// The name that the machine is to have before a DHCP server is asked.
    pub fn effective_hostname(&self) -> &str {
        let valid = |name: &&str| Hostname::try_from((*name).to_owned()).is_ok();
        self.hostname.as_deref().filter(valid).unwrap_or(&self.rancher.defaults.hostname)
    }
}

impl Docker {
    /// The arguments of dockerd.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                arguments.push(format!("--{name}={value}"));
            }
        };
        self.host.iter().for_each(|host| add("host", host));
        add("group", &self.group);
        add("data-root", &self.graph);
        add("bridge", &self.bridge);
        add("bip", &self.bip);
        add("registry-mirror", &self.registry_mirror);
        add("log-driver", &self.log_driver);
        add("storage-driver", &self.storage_driver);
        self.insecure_registry.iter().for_each(|registry| add("insecure-registry", registry));
        self.log_opts.iter().for_each(|(key, value)| add("log-opt", &format!("{key}={value}")));
        add("userland-proxy", if self.userland_proxy { "true" } else { "false" });
        add("live-restore", if self.live_restore { "true" } else { "false" });
        add("debug", if self.debug { "true" } else { "" });
        arguments.extend(self.extra_args.iter().cloned());
        arguments
    }
}

/// Takes each top-level section by itself, so that one bad number costs only its own section.
fn salvage(value: &Value) -> Config {
    let mut kept = serde_json::Map::new();
    for (key, section) in value.as_object().into_iter().flatten() {
        let alone = Value::Object([(key.clone(), section.clone())].into_iter().collect());
        if serde_json::from_value::<Config>(alone).is_ok() {
            kept.insert(key.clone(), section.clone());
        }
    }
    serde_json::from_value(Value::Object(kept)).unwrap_or_default()
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_defaults_resolve() {
        let config = crate::resolve(&[crate::defaults()]);
        assert_eq!(config.effective_hostname(), "rancher");
        assert!(config.rancher.ssh.daemon);
        assert!(config.rancher.docker.arguments().contains(&"--live-restore=true".to_owned()));
    }
}
