//! The user's Docker: keys of the configuration → arguments of dockerd.

use super::old_docker;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The user's Docker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Docker {
    pub engine: String,
    /// The repository of a registry that has engines, each under its name as the tag.
    pub engine_images: String,
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
    pub config_file: String,
    pub containerd: String,
    pub exec_root: String,
    pub pid_file: String,
    pub selinux_enabled: Option<bool>,
    pub tls: bool,
    pub tls_args: Vec<String>,
    pub ca_cert: String,
    pub ca_key: String,
    pub server_cert: String,
    pub server_key: String,
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
        add("storage-driver", old_docker::storage_driver(&self.storage_driver));
        self.insecure_registry.iter().for_each(|registry| add("insecure-registry", registry));
        self.log_opts.iter().for_each(|(key, value)| add("log-opt", &format!("{key}={value}")));
        add("userland-proxy", if self.userland_proxy { "true" } else { "false" });
        add("live-restore", if self.live_restore { "true" } else { "false" });
        add("debug", if self.debug { "true" } else { "" });
        add("config-file", &self.config_file);
        add("containerd", &self.containerd);
        add("exec-root", &self.exec_root);
        add("pidfile", &self.pid_file);
        add("selinux-enabled", &self.selinux_enabled.map(|on| on.to_string()).unwrap_or_default());
        arguments.extend(old_docker::arguments(&self.extra_args));
        if self.tls {
            arguments.extend(self.tls_args.iter().cloned());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::Docker;

    #[test]
    fn keys_become_flags_and_what_is_not_set_is_left_out() {
        let docker = Docker {
            host: vec!["unix:///a".to_owned(), "tcp://b".to_owned()],
            insecure_registry: vec!["r:5000".to_owned()],
            log_opts: [("max-size".to_owned(), "1m".to_owned())].into(),
            extra_args: vec!["--x".to_owned()],
            tls_args: vec!["--tlsverify".to_owned()],
            ..Docker::default()
        };
        let expected = "--host=unix:///a --host=tcp://b --insecure-registry=r:5000 \
                        --log-opt=max-size=1m --userland-proxy=false --live-restore=false --x";
        assert_eq!(docker.arguments().join(" "), expected);
        assert!(Docker { tls: true, ..docker }.arguments().contains(&"--tlsverify".to_owned()));
    }
}
