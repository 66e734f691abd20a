//! Which names have secrets as their values, and which keys of the configuration are free text:
//! they may have any secret in them.

use serde_json::Value;

/// What is shown instead of a secret.
pub(super) const HIDDEN: &str = "(hidden)";
/// A name with one of these has a secret as its value.
const WORDS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "psk",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "credential",
    "cookie",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
];
/// The same, for a part of a name between `_` or `-`, and for the end of a name.
const PARTS: [&str; 3] = ["auth", "pass", "pwd"];
/// Keys of the configuration, wherever they are, whose values the owner wrote freely.
const FREE: [&str; 24] = [
    "EXTRA_CMDLINE",
    "args",
    "bootcmd",
    "bootstrap",
    "cloud_init_services",
    "command",
    "content",
    "coreos",
    "dhcp_args",
    "driver_opts",
    "entrypoint",
    "environment",
    "extra_args",
    "healthcheck",
    "labels",
    "log_opts",
    "modem_networks",
    "post_cmds",
    "post_up",
    "pre_cmds",
    "pre_up",
    "runcmd",
    "tls_args",
    "wifi_networks",
];
/// Keys of a service that are no free text. Every other key is: compose may get more.
const OF_SERVICES: [&str; 32] = [
    "cap_add",
    "cap_drop",
    "container_name",
    "cpuset",
    "depends_on",
    "devices",
    "dns",
    "expose",
    "hostname",
    "image",
    "init",
    "ipc",
    "links",
    "mem_limit",
    "net",
    "network_mode",
    "networks",
    "pid",
    "ports",
    "privileged",
    "profiles",
    "pull_policy",
    "read_only",
    "restart",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "tty",
    "user",
    "uts",
    "volumes",
    "volumes_from",
];

/// Has a key of that name a secret as its value?
pub(super) fn has_secret(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    WORDS.iter().any(|word| name.contains(word))
        || name.split(['_', '-']).any(|part| PARTS.contains(&part))
        || name.ends_with("pass")
        || name.ends_with("pwd")
}

/// Is the value at this path free text? The element of a list is `[]` in it.
pub(super) fn is_free(path: &[String], value: &Value) -> bool {
    if path.last().is_some_and(|key| FREE.contains(&key.as_str())) {
        return true;
    }
    let is_service = path.len() > 1 && path[0] == "rancher" && path[1] == "services";
    match path.get(3) {
        Some(key) => is_service && !OF_SERVICES.contains(&key.as_str()),
        None => is_service && !value.is_object(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names_are_known() {
        for name in
            ["RABBITMQ_DEFAULT_PASS", "MYSQL_PWD", "db-pass", "PGPASS", "a.b.auth", "TOKENS"]
        {
            assert!(has_secret(name), "{name}");
        }
        for name in ["compass_x", "author", "passive", "ssh_authorized_keys", "registry_auths"] {
            assert!(!has_secret(name), "{name}");
        }
    }
}
