//! Flags for the new machine: who may log in, its name, its address. The dialogue sets the same
//! values.

use super::{keys, network, password};
use anyhow::{Context, Result};
use corral_config::names::Hostname;
use keys::Key;
use network::Cidr;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Access {
    /// Public key that may log in, repeatable: a line, a file, an https URL, or gh:NAME (GitHub)
    #[arg(long, value_name = "KEY|FILE|URL|gh:NAME")]
    pub(super) ssh_key: Vec<String>,
    /// Prompt for rancher's password for the console (ssh takes keys)
    #[arg(long, conflicts_with = "password_stdin")]
    pub(super) password: bool,
    /// Read that password from the first line of standard input
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// Name of the new machine
    #[arg(long, value_name = "NAME", value_parser = hostname)]
    pub(super) hostname: Option<String>,
    /// Static address of the new machine, with its prefix length
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub(super) address: Option<Cidr>,
    /// Router of the new machine
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    pub(super) gateway: Option<IpAddr>,
    /// Name servers of the new machine
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) dns: Vec<IpAddr>,
    /// Interface of --address: eth0, mac=52:54:00:12:34:56 [default: that of the default route]
    #[arg(long, value_name = "NAME", requires = "address")]
    pub(super) interface: Option<String>,
    /// Install even if no way to log in to the new machine is known
    #[arg(long)]
    pub(super) no_login: bool,
    /// The password that was typed in the dialogue.
    #[arg(skip)]
    pub(super) password_hash: Option<String>,
}

pub(super) fn hostname(text: &str) -> Result<String, String> {
    Hostname::try_from(text.to_owned()).map(String::from).map_err(|error| error.to_string())
}

/// The same with keys read, the password hashed and the interface found.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) keys: Vec<Key>,
    pub(super) password_hash: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) address: Option<network::Static>,
    pub(super) dns: Vec<IpAddr>,
}

impl Access {
    /// Reads what the flags name: files, URLs, the terminal, the network cards of this machine.
    pub(super) fn resolve(&self) -> Result<Resolved> {
        let address = match self.address {
            Some(address) => {
                Some(network::Static::find(address, self.gateway, self.interface.as_deref())?)
            }
            None => None,
        };
        let named = self.ssh_key.iter().map(|argument| keys::named(argument).context("--ssh-key"));
        let keys = named.collect::<Result<Vec<Vec<Key>>>>()?;
        let password_hash = match (&self.password_hash, self.password, self.password_stdin) {
            (Some(hash), ..) => Some(hash.clone()),
            (None, true, _) => {
                let hash = password::prompt("Password of rancher for the console: ")?;
                Some(hash.context("--password: nothing was typed; nothing was changed")?)
            }
            (None, false, true) => Some(password::read_stdin()?),
            (None, false, false) => None,
        };
        Ok(Resolved {
            keys: keys::unique(keys.into_iter().flatten()),
            password_hash,
            hostname: self.hostname.clone(),
            address,
            dns: self.dns.clone(),
        })
    }
}

impl Resolved {
    /// As a cloud-config. `keys` are those of the document: this list replaces the document's, so
    /// it repeats them.
    pub(super) fn to_value(&self, keys: &[String]) -> Value {
        let mut top = Map::new();
        if let Some(hostname) = &self.hostname {
            top.insert("hostname".to_owned(), json!(hostname));
        }
        if !self.keys.is_empty() {
            let more = self.keys.iter().map(|key| key.key.line.as_str());
            let lines: Vec<&str> = keys.iter().map(String::as_str).chain(more).collect();
            top.insert("ssh_authorized_keys".to_owned(), json!(lines));
        }
        let mut rancher = Map::new();
        if let Some(hash) = &self.password_hash {
            rancher.insert("password".to_owned(), json!(hash));
        }
        let mut network = Map::new();
        if let Some(address) = &self.address {
            network.insert("interfaces".to_owned(), address.to_value());
        }
        if !self.dns.is_empty() {
            network.insert("dns".to_owned(), json!({ "nameservers": self.dns }));
        }
        if !network.is_empty() {
            rancher.insert("network".to_owned(), Value::Object(network));
        }
        if !rancher.is_empty() {
            top.insert("rancher".to_owned(), Value::Object(rancher));
        }
        Value::Object(top)
    }

    /// Lines for the owner to confirm.
    pub(super) fn describe(&self) -> Vec<String> {
        let name = self.hostname.as_ref().map(|name| format!("hostname   {name}"));
        let address = self.address.as_ref().map(|address| format!("address    {address}"));
        let list: Vec<String> = self.dns.iter().map(ToString::to_string).collect();
        let dns = (!list.is_empty()).then(|| format!("dns        {}", list.join(", ")));
        [name, address, dns].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use corral_config::Layer;
    use corral_config::Source;
    use corral_config::ssh_key::SshKey;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        access: Access,
    }

    fn parse(line: &str) -> Result<Access, String> {
        let words = std::iter::once("ros").chain(line.split(' ').filter(|word| !word.is_empty()));
        Flags::try_parse_from(words).map(|flags| flags.access).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_are_a_cloud_config_that_is_right() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO me";
        let mut access = parse(
            "--hostname web-1 --address 10.0.0.5/24 --gateway 10.0.0.1 --dns 10.0.0.1,::1 \
             --interface eth1",
        )
        .unwrap();
        access.password_hash = Some("$6$salt$hash".to_owned());
        let mut resolved = access.resolve().unwrap();
        let key = SshKey::parse(key).unwrap();
        resolved.keys = vec![Key { key: key.clone(), origin: "--ssh-key".to_owned() }];
        let first = format!("{} first", key.line);
        let layer =
            Layer::from_value(Source::Defaults, &resolved.to_value(std::slice::from_ref(&first)));
        assert_eq!(layer.problems, Vec::new());
        assert_eq!(
            layer.value,
            json!({
                "hostname": "web-1",
                "ssh_authorized_keys": [first, key.line],
                "rancher": {
                    "password": "$6$salt$hash",
                    "network": {
                        "interfaces": {
                            "eth1": {
                                "address": "10.0.0.5/24",
                                "gateway": "10.0.0.1",
                                "dhcp": false,
                            },
                        },
                        "dns": {"nameservers": ["10.0.0.1", "::1"]},
                    },
                },
            })
        );
        assert_eq!(
            resolved.describe(),
            [
                "hostname   web-1",
                "address    10.0.0.5/24 on eth1, gateway 10.0.0.1",
                "dns        10.0.0.1, ::1"
            ]
        );
        assert_eq!(Access::default().resolve().unwrap().to_value(&["first".to_owned()]), json!({}));
    }

    #[test]
    fn flags_that_cannot_be_right_are_refused() {
        for (line, reason) in [
            ("--hostname=-a", "hyphen"),
            ("--hostname a_b..c", "host name"),
            ("--address 10.0.0.5", "10.0.0.5/24"),
            ("--address 10.0.0.5/33", "0 to 32"),
            ("--address 10.0.0/8", "not an IP address"),
            ("--gateway 10.0.0.1", "--address"),
            ("--interface eth0", "--address"),
            ("--dns here", "here"),
            ("--password --password-stdin", "cannot be used with"),
        ] {
            let why = parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(why.contains(reason), "{line}: {why}");
        }
    }
}
