//! Every key: its type, what it is for, and whether this version acts on it. One table; validation, leniency (`"true"`
//! for true), the list of secrets and the manual's table all come from it.

use crate::error::{Problem, Severity};
use crate::yaml::{Kind, Node, Position};
use serde_json::{Map, Value};

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    Bool,
    Integer,
    String,
    /// A string that never shows up in logs or exports.
    Secret,
    /// Octal, as chmod(1) takes it.
    Mode,
    /// A list of the given type; a single value is taken as a list of one.
    List(&'static Type),
    /// A mapping with free keys.
    Map(&'static Type),
    /// A mapping with these keys.
    Keys(&'static [Key]),
    /// A command: a string for the shell or a list of words.
    Command,
    /// Not looked into here.
    Any,
}

/// A key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Type,
    pub about: &'static str,
    /// False for a key that is accepted, so that old files stay valid, but does nothing in this version.
    pub effective: bool,
}

const fn key(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { name, kind, about, effective: true }
}

const fn later(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { name, kind, about, effective: false }
}

const STRINGS: Type = Type::List(&Type::String);
const ANY: Type = Type::Any;

/// The whole document.
pub const ROOT: Type = Type::Keys(&[
    key("hostname", Type::String, "the machine's name"),
    key("ssh_authorized_keys", STRINGS, "public keys that may log in as rancher and docker"),
    key(
        "write_files",
        Type::List(&Type::Keys(WRITE_FILE)),
        "files to write, at each start of their container",
    ),
    key(
        "runcmd",
        Type::List(&Type::Command),
        "commands to run in the console, in order, before Docker starts",
    ),
    later("bootcmd", Type::List(&Type::Command), "commands to run early at each boot"),
    later("mounts", Type::List(&Type::List(&Type::String)), "[device, target, type, options]"),
    later("users", Type::List(&ANY), "more users, in cloud-init's form"),
    key("rancher", Type::Keys(RANCHER), "everything that is this system's own"),
]);

const WRITE_FILE: &[Key] = &[
    key("path", Type::String, "absolute path"),
    key("content", Type::String, "text of the file"),
    key("permissions", Type::Mode, "octal mode; 0644"),
    key("owner", Type::String, "user or user:group"),
    key("container", Type::String, "the system container to write into; console"),
    later("encoding", Type::String, "b64, gzip, gz+b64"),
];

const RANCHER: &[Key] = &[
    key("debug", Type::Bool, "more lines in the logs"),
    key("autologin", STRINGS, "terminals that log rancher in without asking; kernel parameter"),
    key("password", Type::Secret, "password of rancher on terminals; kernel parameter"),
    key("modules", STRINGS, "kernel modules to load at boot"),
    key("sysctl", Type::Map(&Type::String), "values for /proc/sys"),
    key("environment", Type::Map(&Type::String), "variables that services ask for by name"),
    key("services", Type::Map(&ANY), "services, in compose form"),
    key("shutdown_timeout", Type::Integer, "seconds until the machine ends in any case"),
    key(
        "cloud_init",
        Type::Keys(&[later("datasources", STRINGS, "where to look for a configuration, in order")]),
        "data sources",
    ),
    key("state", Type::Keys(STATE), "the state disk"),
    key("network", Type::Keys(NETWORK), "addresses, names and proxies"),
    key("defaults", Type::Keys(DEFAULTS), "fall-backs"),
    key("ssh", Type::Keys(SSH), "the ssh server"),
    key("docker", Type::Keys(DOCKER), "the user's Docker"),
    later("system_docker", Type::Keys(DOCKER), "the engine of the system"),
    later("bootstrap_docker", Type::Keys(DOCKER), "kept for old files: there is one engine"),
    later("console", Type::String, "name, path or URL of another console"),
    later("services_include", Type::Map(&Type::Bool), "optional services: name → enabled"),
    later("bootstrap", Type::Map(&ANY), "kept for old files"),
    later("cloud_init_services", Type::Map(&ANY), "kept for old files"),
    later("log", Type::Bool, "show the services' output on the console"),
    later("recovery", Type::Bool, "recovery console"),
    later("rm_usr", Type::Bool, "kept for old files"),
    later("no_sharedroot", Type::Bool, "kept for old files"),
    later("force_console_rebuild", Type::Bool, "make the console anew once"),
    later("disable", STRINGS, "kept for old files"),
    later("autoformat", ANY, "kept for old files: see state.autoformat"),
    later("default_network", ANY, "kept for old files"),
    later("repositories", Type::Map(&ANY), "where optional services are found"),
    later("upgrade", ANY, "where releases are found"),
    later("registry_auths", Type::Map(&ANY), "logins for registries"),
    later("resize_device", Type::String, "disk whose first partition grows at boot"),
    later("restart_services", STRINGS, "system containers to restart after the files are written"),
    later("hypervisor_service", Type::Bool, "start the tools of the hypervisor"),
];

const STATE: &[Key] = &[
    key("dev", Type::String, "device, LABEL= or UUID= of the state disk"),
    key("fstype", Type::String, "its type; auto"),
    key("wait", Type::Bool, "wait for it up to a minute"),
    key("required", Type::Bool, "say so loudly when it is not there"),
    key("autoformat", STRINGS, "disks of which the first blank one becomes the state disk"),
    later("mdadm_scan", Type::Bool, "assemble software RAID first"),
    later("script", Type::String, "script to run first"),
    later("directory", Type::String, "folder of the disk to use"),
    later("oem_dev", Type::String, "disk with the maker's configuration"),
    later("oem_fstype", Type::String, "its type"),
];

const NETWORK: &[Key] = &[
    key("interfaces", Type::Map(&Type::Keys(INTERFACE)), "by name, glob or mac=…"),
    key("dns", Type::Keys(DNS), "name servers"),
    later("pre_cmds", STRINGS, "commands before everything"),
    later("post_cmds", STRINGS, "commands after everything"),
    later("http_proxy", Type::String, "proxy"),
    later("https_proxy", Type::String, "proxy"),
    later("no_proxy", Type::String, "what goes without proxy"),
];

const DNS: &[Key] =
    &[key("nameservers", STRINGS, "addresses of name servers"), key("search", STRINGS, "domains to search")];

const INTERFACE: &[Key] = &[
    key("dhcp", Type::Bool, "ask for an address"),
    key("address", Type::String, "address with prefix length"),
    key("addresses", STRINGS, "more of them"),
    key("gateway", Type::String, "default route"),
    key("gateway_ipv6", Type::String, "default route for IPv6"),
    key("mtu", Type::Integer, "largest packet, in bytes"),
    later("match", Type::String, "name, glob or mac=…"),
    later("dhcp_args", Type::String, "arguments of dhcpcd"),
    later("ipv4ll", Type::Bool, "link-local address"),
    later("bridge", Type::String, "true, or the bridge to join"),
    later("bond", Type::String, "the bond to join"),
    later("bond_opts", Type::Map(&Type::String), "options of a bond"),
    later("vlans", Type::String, "id[:name], comma-separated"),
    later("pre_up", STRINGS, "commands before"),
    later("post_up", STRINGS, "commands after"),
];

const DEFAULTS: &[Key] = &[
    key("hostname", Type::String, "the name where nothing gives one"),
    key("network", Type::Keys(NETWORK), "the network where nothing is said"),
    later("docker", Type::Keys(DOCKER), "kept for old files"),
    later("system_docker_logs", Type::String, "kept for old files"),
];

const SSH: &[Key] = &[
    key("daemon", Type::Bool, "run sshd"),
    key("keys", Type::Map(&Type::Secret), "host keys by type"),
    key("port", Type::Integer, "port to listen on"),
    later("listen_address", Type::String, "address to listen on"),
];

const DOCKER: &[Key] = &[
    key("extra_args", STRINGS, "more arguments of dockerd"),
    key("environment", STRINGS, "variables of dockerd"),
    key("host", STRINGS, "sockets"),
    key("group", Type::String, "group of the socket"),
    key("debug", Type::Bool, "more lines in its log"),
    key("graph", Type::String, "where images and containers are"),
    key("bridge", Type::String, "bridge, or none"),
    key("bip", Type::String, "address of docker0"),
    key("insecure_registry", STRINGS, "registries without TLS"),
    key("registry_mirror", Type::String, "mirror"),
    key("live_restore", Type::Bool, "containers live on while dockerd is replaced"),
    key("log_driver", Type::String, "log driver"),
    key("log_opts", Type::Map(&Type::String), "its options"),
    key("storage_driver", Type::String, "storage driver"),
    key("userland_proxy", Type::Bool, "a proxy process for each published port"),
    key("storage_context", Type::String, "the container whose files dockerd sees"),
    later("tls", Type::Bool, "listen with TLS"),
    later("tls_args", STRINGS, "arguments for TLS"),
    later("server_cert", Type::Secret, "certificate"),
    later("server_key", Type::Secret, "its key"),
    later("ca_cert", Type::Secret, "certificate authority"),
    later("ca_key", Type::Secret, "its key"),
    later("engine", Type::String, "name, path or URL of another engine"),
    later("config_file", Type::String, "daemon.json"),
    later("containerd", Type::String, "socket of another containerd"),
    later("exec_root", Type::String, "run-time state"),
    later("exec", Type::Bool, "kept for old files"),
    later("args", STRINGS, "kept for old files"),
    later("pid_file", Type::String, "kept for old files"),
    later("restart", Type::Bool, "kept for old files"),
    later("selinux_enabled", Type::Bool, "kept for old files"),
];

/// Checks a tree against the table. The result holds only what is right; the rest is in the problems.
pub fn check(tree: &Node, source: &str, text: &str) -> (Value, Vec<Problem>) {
    let mut checker = Checker { source, lines: text.lines().collect(), problems: Vec::new() };
    let value = if tree.kind == Kind::Null { None } else { checker.check(tree, &ROOT, "") };
    (value.unwrap_or_else(|| Value::Object(Map::new())), checker.problems)
}

/// Is the value at this path a secret?
pub fn is_secret(path: &[String]) -> bool {
    let mut kind = &ROOT;
    for part in path {
        kind = match kind {
            Type::Keys(keys) => match keys.iter().find(|key| key.name == part) {
                Some(key) => &key.kind,
                None => return false,
            },
            Type::Map(inner) => inner,
            _ => return false,
        };
    }
    matches!(kind, Type::Secret)
}

struct Checker<'a> {
    source: &'a str,
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, severity: Severity, at: Position, key: &str, message: String) {
        self.problems.push(Problem::new(severity, self.source, at, key, message));
    }

    fn check(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        match (kind, &node.kind) {
            (Type::Any, _) => Some(node.to_value()),
            (Type::Keys(keys), Kind::Mapping(items)) => Some(self.check_keys(items, keys, key)),
            (Type::Map(inner), Kind::Mapping(items)) => Some(self.check_map(items, inner, key)),
            (Type::List(inner), Kind::Sequence(items)) => Some(self.check_list(items, inner, key)),
            (Type::Keys(_) | Type::Map(_) | Type::List(_), Kind::Null) => None,
            (Type::List(inner), Kind::String(_) | Kind::Number(_) | Kind::Bool(_)) if is_scalar(inner) => {
                Some(Value::Array(vec![self.check(node, inner, key)?]))
            }
            (Type::Command, Kind::Sequence(items)) => Some(self.check_list(items, &Type::String, key)),
            (Type::Command | Type::String | Type::Secret | Type::Mode, _) => {
                self.check_string(node, kind, key)
            }
            (Type::Bool, _) => self.check_bool(node, key),
            (Type::Integer, _) => self.check_integer(node, key),
            _ => self.refuse(node, kind, key),
        }
    }

    fn refuse(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        let message = format!("{} is wanted here, not {}", describe(kind), node.kind.name());
        self.problem(Severity::Error, node.at, key, message);
        None
    }

    fn check_keys(&mut self, items: &[(String, Node)], keys: &[Key], above: &str) -> Value {
        let mut result = Map::new();
        for (name, node) in items {
            let path = join(above, name);
            let Some(known) = keys.iter().find(|known| known.name == name) else {
                self.problem(Severity::Warning, node.at, &path, unknown(name, keys));
                continue;
            };
            if !known.effective && self.source != "defaults" {
                let message = "accepted, but has no effect in this version".to_owned();
                self.problem(Severity::Warning, node.at, &path, message);
            }
            if let Some(value) = self.check(node, &known.kind, &path) {
                result.insert(name.clone(), value);
            }
        }
        Value::Object(result)
    }

    fn check_map(&mut self, items: &[(String, Node)], inner: &Type, above: &str) -> Value {
        let mut result = Map::new();
        for (name, node) in items {
            if let Some(value) = self.check(node, inner, &join(above, name)) {
                result.insert(name.clone(), value);
            }
        }
        Value::Object(result)
    }

    fn check_list(&mut self, items: &[Node], inner: &Type, key: &str) -> Value {
        let numbered = items.iter().enumerate();
        Value::Array(
            numbered.filter_map(|(n, item)| self.check(item, inner, &format!("{key}[{n}]"))).collect(),
        )
    }

    fn check_string(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        let text = match &node.kind {
            Kind::String(text) => text.clone(),
            Kind::Number(number) => self.raw(node.at).unwrap_or_else(|| number.to_string()),
            Kind::Bool(value) => self.raw(node.at).unwrap_or_else(|| value.to_string()),
            Kind::Null => String::new(),
            _ => return self.refuse(node, kind, key),
        };
        if matches!(kind, Type::Mode) && (u32::from_str_radix(&text, 8).is_err() || text.len() > 5) {
            self.problem(
                Severity::Error,
                node.at,
                key,
                format!("{text:?} is not an octal mode such as \"0644\""),
            );
            return None;
        }
        Some(Value::String(text))
    }

    fn check_bool(&mut self, node: &Node, key: &str) -> Option<Value> {
        match &node.kind {
            Kind::Bool(value) => Some(Value::Bool(*value)),
            Kind::String(text) if ["true", "yes", "on"].contains(&text.to_lowercase().as_str()) => {
                Some(Value::Bool(true))
            }
            Kind::String(text) if ["false", "no", "off"].contains(&text.to_lowercase().as_str()) => {
                Some(Value::Bool(false))
            }
            Kind::Null => None,
            _ => self.refuse(node, &Type::Bool, key),
        }
    }

    fn check_integer(&mut self, node: &Node, key: &str) -> Option<Value> {
        match &node.kind {
            Kind::Number(number) if number.is_i64() || number.is_u64() => Some(Value::Number(number.clone())),
            Kind::String(text) => match text.trim().parse::<i64>() {
                Ok(number) => Some(Value::Number(number.into())),
                Err(_) => self.refuse(node, &Type::Integer, key),
            },
            Kind::Null => None,
            _ => self.refuse(node, &Type::Integer, key),
        }
    }

    /// A scalar as it was written: `0644` for what YAML takes as the number 420.
    fn raw(&self, at: Position) -> Option<String> {
        let line = self.lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
        let rest = line.get(usize::try_from(at.column).ok()?.checked_sub(1)?..)?;
        let token = rest.split([' ', ',', ']', '}', '#', '\t']).next()?;
        (!token.is_empty() && !token.starts_with(['*', '&', '!', '"', '\''])).then(|| token.to_owned())
    }
}

/// May one value stand for a list of one?
fn is_scalar(kind: &Type) -> bool {
    matches!(kind, Type::Bool | Type::Integer | Type::String | Type::Secret | Type::Mode | Type::Command)
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

fn describe(kind: &Type) -> &'static str {
    match kind {
        Type::Bool => "true or false",
        Type::Integer => "a whole number",
        Type::String | Type::Secret => "a string",
        Type::Mode => "an octal mode",
        Type::List(_) => "a list",
        Type::Map(_) | Type::Keys(_) => "a mapping",
        Type::Command => "a command (a string or a list of words)",
        Type::Any => "anything",
    }
}

fn unknown(name: &str, keys: &[Key]) -> String {
    let nearest = keys.iter().map(|key| (distance(name, key.name), key.name)).min();
    match nearest {
        Some((distance, near)) if distance <= 2.max(name.len() / 3) => {
            format!("unknown key; did you mean {near}?")
        }
        _ => "unknown key".to_owned(),
    }
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use crate::{Layer, Source};
    use serde_json::json;

    fn layer(text: &str) -> Layer {
        Layer::parse(Source::File("f.yml".to_owned()), text)
    }

    #[test]
    fn what_is_wrong_is_left_out_and_told_with_its_place() {
        let cases = [
            ("hostname: [a]\n", "f.yml:1:11: hostname: a string is wanted here, not a list"),
            (
                "rancher:\n  debug: perhaps\n",
                "f.yml:2:10: rancher.debug: true or false is wanted here, not a string",
            ),
            (
                "rancher:\n  shutdown_timeout: soon\n",
                "f.yml:2:21: rancher.shutdown_timeout: a whole number is wanted here, not a string",
            ),
            (
                "write_files:\n- {path: /a, permissions: rw}\n",
                "f.yml:2:27: write_files[0].permissions: \"rw\" is not an octal mode such as \"0644\"",
            ),
            ("hostnam: a\n", "f.yml:1:10: hostnam: warning: unknown key; did you mean hostname?"),
            ("a: [\n", "f.yml:1:4: "),
        ];
        for (text, expected) in cases {
            let found: Vec<String> = layer(text).problems.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(expected), "{text}: {}", found[0]);
        }
    }

    #[test]
    fn loosely_written_values_are_taken_as_meant() {
        let value = layer(
            "ssh_authorized_keys: one\nwrite_files:\n- {path: /a, permissions: 0600, content: 5}\n- {path: /b, permissions: \"755\"}\nrancher:\n  debug: \"yes\"\n  shutdown_timeout: \"5\"\n  sysctl: {a.b: 1}\n",
        );
        assert_eq!(value.problems, Vec::new());
        assert_eq!(
            value.value,
            json!({
                "ssh_authorized_keys": ["one"],
                "write_files": [{"path": "/a", "permissions": "0600", "content": "5"}, {"path": "/b", "permissions": "755"}],
                "rancher": {"debug": true, "shutdown_timeout": 5, "sysctl": {"a.b": "1"}},
            })
        );
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(crate::defaults().problems, Vec::new());
    }
}
