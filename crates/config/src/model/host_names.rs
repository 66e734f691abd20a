//! The names of a machine: `hostname`, `fqdn`, and which of them take effect.

use super::Config;
use crate::names::{Hostname, for_kernel};

impl Config {
    /// The name that the owner or the provider gave it: `hostname`, or the first part of `fqdn`.
    /// Of one that is too long for the kernel it is the first part.
    pub fn given_hostname(&self) -> Option<&str> {
        let fqdn = valid(self.fqdn.as_deref());
        let short = fqdn.and_then(|name| name.split('.').next());
        let name = valid(self.hostname.as_deref()).or(short);
        let name = if self.prefer_fqdn_over_hostname { fqdn.or(name) } else { name };
        name.filter(|_| !self.preserve_hostname).map(for_kernel)
    }

    /// The name that the machine is to have before it uses DHCP.
    pub fn effective_hostname(&self) -> &str {
        self.given_hostname().unwrap_or_else(|| for_kernel(&self.rancher.defaults.hostname))
    }

    /// All its names for /etc/hosts, the full one first.
    pub fn host_names(&self) -> Vec<&str> {
        let name = self.effective_hostname();
        let full = valid(self.fqdn.as_deref()).or(valid(self.hostname.as_deref()));
        let full = full.filter(|_| !self.preserve_hostname);
        let short = name.split('.').next().unwrap_or(name);
        let mut names = vec![full.unwrap_or(name)];
        for other in [name, short] {
            if !names.contains(&other) {
                names.push(other);
            }
        }
        names
    }
}

fn valid(name: Option<&str>) -> Option<&str> {
    name.filter(|name| Hostname::try_from((*name).to_owned()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(hostname: Option<&str>, fqdn: Option<&str>, prefer: bool) -> Config {
        let mut config = Config {
            hostname: hostname.map(str::to_owned),
            fqdn: fqdn.map(str::to_owned),
            prefer_fqdn_over_hostname: prefer,
            ..Config::default()
        };
        config.rancher.defaults.hostname = "rancher".to_owned();
        config
    }

    #[test]
    fn names_of_the_machine() {
        for (config, name, hosts) in [
            (named(None, None, true), "rancher", "rancher"),
            (named(Some("a"), None, false), "a", "a"),
            (named(Some("a.b"), None, false), "a.b", "a.b a"),
            (named(None, Some("a.b.c"), false), "a", "a.b.c a"),
            (named(Some("x"), Some("a.b.c"), false), "x", "a.b.c x"),
            (named(Some("a"), Some("a.b.c"), true), "a.b.c", "a.b.c a"),
        ] {
            assert_eq!(config.effective_hostname(), name);
            assert_eq!(config.host_names().join(" "), hosts);
        }
        let long = format!("a.{}", "b".repeat(63));
        for config in [named(Some(&long), None, false), named(None, Some(&long), true)] {
            assert_eq!(config.effective_hostname(), "a");
            assert_eq!(config.host_names(), [long.as_str(), "a"]);
        }
        let kept = Config { preserve_hostname: true, ..named(Some("a"), Some("a.b"), true) };
        assert_eq!(kept.host_names(), ["rancher"]);
    }
}
