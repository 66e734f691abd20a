//! What is meant: the typed configuration. No field is optional that has a default.

use crate::encoding::Encoding;
use crate::names::DataSource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

mod accounts;
mod docker;
mod host_names;
mod logins;
mod machine;
pub mod old_docker;
pub use docker::Docker;
pub use logins::{Chpasswd, DEFAULT_USER, HostKeys, PasswordOf, Secret, Sudo, User};
pub use machine::{
    CaCerts, Command, Condition, KEYMAPS, Keyboard, Ntp, Power, Swap, VendorData, certificates,
};

/// The complete configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    pub prefer_fqdn_over_hostname: bool,
    /// Leave the name to DHCP.
    pub preserve_hostname: bool,
    pub ssh_authorized_keys: Vec<String>,
    /// See `names::KeyId`.
    pub ssh_import_id: Vec<String>,
    /// Does sshd take passwords too?
    pub ssh_pwauth: bool,
    pub users: Vec<User>,
    /// A user with the rights of rancher; without a name, there is none.
    pub user: User,
    /// Of `user`, or of rancher.
    pub password: String,
    pub chpasswd: Chpasswd,
    pub ssh_keys: HostKeys,
    /// Below /usr/share/zoneinfo; empty: UTC.
    pub timezone: String,
    pub ntp: Ntp,
    pub keyboard: Keyboard,
    pub ca_certs: CaCerts,
    pub swap: Swap,
    pub power_state: Power,
    pub vendor_data: VendorData,
    pub write_files: Vec<WriteFile>,
    pub mounts: Vec<Mount>,
    pub bootcmd: Vec<Command>,
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
    /// See `encoding::Encoding`.
    pub encoding: String,
}

impl Default for WriteFile {
    fn default() -> Self {
        WriteFile {
            path: String::new(),
            content: String::new(),
            permissions: "0644".to_owned(),
            owner: String::new(),
            container: "console".to_owned(),
            encoding: String::new(),
        }
    }
}

impl WriteFile {
    /// What is to be in the file.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let unknown = || format!("{:?} is not an encoding", self.encoding);
        Encoding::parse(&self.encoding).ok_or_else(unknown)?.decode(self.content.as_bytes())
    }

    /// Its mode.
    pub fn mode(&self) -> Result<u32, String> {
        u32::from_str_radix(&self.permissions, 8)
            .map_err(|_| format!("{:?} is not an octal mode", self.permissions))
    }
}

/// A mount, a bind or a swap space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Mount {
    pub device: String,
    pub target: String,
    /// `auto` where nothing is said.
    pub kind: String,
    pub options: Vec<String>,
}

impl From<Vec<String>> for Mount {
    fn from(fields: Vec<String>) -> Self {
        let field = |number: usize| fields.get(number).cloned().unwrap_or_default();
        let kind = match field(2) {
            kind if kind.is_empty() => "auto".to_owned(),
            kind => kind,
        };
        let options = field(3).split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>();
        let options = options
            .into_iter()
            .filter(|option| !option.is_empty() && option != "defaults")
            .collect();
        Mount { device: field(0), target: field(1), kind, options }
    }
}

impl From<Mount> for Vec<String> {
    fn from(mount: Mount) -> Self {
        vec![mount.device, mount.target, mount.kind, mount.options.join(",")]
    }
}

/// What is this system's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rancher {
    pub debug: bool,
    pub log: bool,
    pub autologin: Vec<String>,
    /// A hash (`names::is_password_hash`) or clear text.
    pub password: String,
    pub modules: Vec<String>,
    pub sysctl: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    pub services: BTreeMap<String, Value>,
    pub services_include: BTreeMap<String, bool>,
    pub repositories: BTreeMap<String, Repository>,
    pub console: String,
    /// Empty: that of the image.
    pub os_release_id: String,
    pub force_console_rebuild: bool,
    pub hypervisor_service: bool,
    pub shutdown_timeout: u64,
    pub cloud_init: CloudInit,
    pub state: State,
    pub network: Network,
    pub defaults: Defaults,
    pub ssh: Ssh,
    pub docker: Docker,
    /// Of the system engine's settings, only those for registries take effect.
    pub system_docker: Docker,
    pub resize_device: String,
    pub restart_services: Vec<String>,
    pub registry_auths: BTreeMap<String, RegistryAuth>,
    pub upgrade: Upgrade,
    pub recovery: bool,
}

/// Where service files are found by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repository {
    pub url: String,
}

/// Where releases are found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upgrade {
    pub url: String,
    pub image: String,
}

/// A login for a registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
    pub auth: String,
    pub identity_token: String,
    pub registry_token: String,
}

impl RegistryAuth {
    /// User and password, also from `auth`, which has both in base64 with a colon between them.
    pub fn account(&self) -> Option<(String, String)> {
        use base64::Engine;
        if !self.username.is_empty() {
            return Some((self.username.clone(), self.password.clone()));
        }
        let text = base64::engine::general_purpose::STANDARD.decode(&self.auth).ok()?;
        let text = String::from_utf8(text).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }
}

/// Where to look for a configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudInit {
    pub datasources: Vec<String>,
    /// Seconds for all sources on the network together.
    pub timeout: u64,
}

impl CloudInit {
    /// The sources in order; `*` stands for all.
    pub fn sources(&self) -> Vec<DataSource> {
        if self.datasources.iter().any(|source| source == "*") {
            return DataSource::all();
        }
        self.datasources.iter().filter_map(|source| source.parse().ok()).collect()
    }
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
    /// Without `dev`: the disk that Docker Machine gave the machine.
    pub docker_machine: bool,
    /// Folder of the disk to use as its root.
    pub directory: String,
    pub script: String,
    pub mdadm_scan: bool,
    /// Open every encrypted disk, whichever they are.
    pub cryptsetup: bool,
    pub encryption: Encryption,
    pub oem_dev: String,
    pub oem_fstype: String,
}

/// The container (LUKS) that the state disk is in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Encryption {
    /// Empty: the state is not encrypted.
    pub device: String,
    /// `DRIVE:/PATH`.
    pub key_file: String,
}

/// Addresses and names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    pub interfaces: BTreeMap<String, Interface>,
    pub dns: Dns,
    pub pre_cmds: Vec<String>,
    pub post_cmds: Vec<String>,
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
    /// Of its default routes; 0: by the order of the interfaces.
    pub metric: u32,
    /// 0: as the driver says.
    pub mtu: u32,
    /// In place of the key of the map.
    #[serde(rename = "match")]
    pub matcher: String,
    pub dhcp_args: String,
    pub ipv4ll: bool,
    pub bridge: String,
    pub bond: String,
    pub bond_opts: BTreeMap<String, String>,
    pub vlans: String,
    pub pre_up: Vec<String>,
    pub post_up: Vec<String>,
}

impl Interface {
    /// All its static addresses, each once.
    pub fn static_addresses(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for address in std::iter::once(&self.address)
            .chain(&self.addresses)
            .filter(|address| !address.is_empty())
        {
            if !all.contains(&address.as_str()) {
                all.push(address);
            }
        }
        all
    }

    /// `(id, name)` of each VLAN on this interface.
    pub fn vlan_list(&self, parent: &str) -> Vec<(u16, String)> {
        let items = self.vlans.split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .filter_map(|item| {
                let (id, name) = item.split_once(':').unwrap_or((item, ""));
                let name = if name.is_empty() { format!("{parent}.{id}") } else { name.to_owned() };
                Some((id.parse().ok()?, name))
            })
            .collect()
    }
}

impl Network {
    /// `http_proxy=…` and its relatives in both cases, as programs look for them.
    pub fn proxy_environment(&self) -> Vec<(String, String)> {
        let proxies = [
            ("http_proxy", &self.http_proxy),
            ("https_proxy", &self.https_proxy),
            ("no_proxy", &self.no_proxy),
        ];
        proxies
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| {
                [((*name).to_owned(), (*value).clone()), (name.to_uppercase(), (*value).clone())]
            })
            .collect()
    }
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
