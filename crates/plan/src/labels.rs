//! The labels `io.rancher.os.*` and `io.corral.*` of a service, as types. No other file knows their
//! names.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

const SCOPE: &str = "io.rancher.os.scope";

/// Beginnings of the labels of RancherOS and of Corral.
pub const PREFIXES: [&str; 2] = ["io.rancher.os.", "io.corral."];
/// Those that an owner may use; `console` names a console's file system.
pub const KNOWN: [&str; 8] = [
    SCOPE,
    "io.rancher.os.after",
    "io.rancher.os.before",
    "io.rancher.os.detach",
    "io.rancher.os.createonly",
    "io.rancher.os.reloadconfig",
    "io.rancher.os.console",
    "io.corral.kill-mode",
];

/// Which engine runs a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The engine of the system.
    System,
    /// The user's Docker.
    User,
}

/// The engine that the labels of a definition choose, in either form; None if they do not.
pub fn scope(definition: &Value) -> Option<Scope> {
    let scope = match definition.get("labels")? {
        Value::Object(map) => map.get(SCOPE)?.as_str(),
        Value::Array(list) => {
            let labels = list.iter().filter_map(Value::as_str);
            let mut values =
                labels.filter_map(|label| label.strip_prefix(SCOPE)?.strip_prefix('='));
            Some(values.next()?)
        }
        _ => return None,
    };
    Some(if scope == Some("system") { Scope::System } else { Scope::User })
}

/// The labels of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The engine of the system runs it; otherwise it is a service of the user's Docker.
    pub system: bool,
    /// Start after these. A name that is not in the plan is no error.
    pub after: Vec<String>,
    /// Start before these.
    pub before: Vec<String>,
    /// False: services that come after it wait for its end, not only for its start.
    pub detach: bool,
    /// Its container is created, and started by a client only.
    pub create_only: bool,
    /// When it has ended, the configuration is read again.
    pub reload_config: bool,
    /// False: its file system is kept over restarts of the machine.
    pub rebuild: Option<bool>,
    /// What of it ends with its first process.
    pub kill_mode: KillMode,
}

/// systemd's term, and two of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillMode {
    /// Everything in the container.
    ControlGroup,
    /// Only the first process: what it started lives on, and is found again by the next one.
    Process,
}

impl Default for Labels {
    fn default() -> Self {
        Labels {
            system: false,
            after: Vec::new(),
            before: Vec::new(),
            detach: true,
            create_only: false,
            reload_config: false,
            rebuild: None,
            kill_mode: KillMode::ControlGroup,
        }
    }
}

/// Reads the labels of a service. A label that is not ours means nothing here.
pub fn parse(labels: &BTreeMap<String, String>) -> Labels {
    let get = |name: &str| labels.get(name).map(String::as_str);
    let list = |name: &str| -> Vec<String> {
        let names = get(name).unwrap_or_default().split(',');
        names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    Labels {
        system: get(SCOPE) == Some("system"),
        after: list("io.rancher.os.after"),
        before: list("io.rancher.os.before"),
        detach: get("io.rancher.os.detach") != Some("false"),
        create_only: get("io.rancher.os.createonly") == Some("true"),
        reload_config: get("io.rancher.os.reloadconfig") == Some("true"),
        rebuild: get("io.docker.compose.rebuild").map(|value| value != "false"),
        kill_mode: match get("io.corral.kill-mode") {
            Some("process") => KillMode::Process,
            _ => KillMode::ControlGroup,
        },
    }
}
