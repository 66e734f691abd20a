//! What an engine answers: the fields of each object that are needed here. A field that is missing
//! or null is empty.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `GET /containers/{id}/json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// Digest of its image.
    pub(crate) image: String,
    pub(crate) state: State,
    /// As the client that created it described it: another container is created from it.
    pub(crate) config: Value,
    pub(crate) host_config: Value,
    #[serde(deserialize_with = "or_default")]
    pub(crate) mounts: Vec<Mount>,
    pub(crate) network_settings: NetworkSettings,
}

impl Container {
    /// Its image, as named by the client that created it.
    pub(crate) fn image_name(&self) -> &str {
        self.config["Image"].as_str().unwrap_or_default()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.config["Labels"][key].as_str()
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.config["Tty"] == true
    }
}

/// The state of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub(crate) status: String,
    pub(crate) exit_code: i64,
    #[serde(deserialize_with = "or_default")]
    pub(crate) error: String,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub(crate) started_at: String,
    #[serde(deserialize_with = "or_default")]
    health: Health,
}

impl State {
    /// `starting`, `healthy`, `unhealthy`; None without a health check.
    pub(crate) fn health(&self) -> Option<&str> {
        Some(self.health.status.as_str()).filter(|status| !["", "none"].contains(status))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Health {
    status: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Mount {
    #[serde(rename = "RW", default)]
    pub(crate) is_writable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkSettings {
    /// By network name.
    #[serde(deserialize_with = "or_default")]
    pub(crate) networks: BTreeMap<String, Value>,
}

/// `GET /version`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Version {
    pub(super) version: String,
}

/// A row of `GET /containers/json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Summary {
    pub(crate) id: String,
    /// With a leading slash each.
    #[serde(deserialize_with = "or_default")]
    pub(crate) names: Vec<String>,
    pub(crate) command: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    /// As in [`State::status`].
    pub(crate) state: String,
    /// In words: `Up 2 minutes (healthy)`.
    pub(crate) status: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Vec<Port>,
}

impl Summary {
    /// Its own name. The other names are those that links give it: `/other/name`.
    pub(crate) fn name(&self) -> Option<&str> {
        self.names.iter().filter_map(|name| name.strip_prefix('/')).find(|name| !name.contains('/'))
    }
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Port {
    // Ports are listed in the order of these fields.
    pub(crate) private_port: u16,
    /// Address of the host; empty if it is not published.
    #[serde(rename = "IP")]
    pub(crate) address: String,
    pub(crate) public_port: u16,
    #[serde(rename = "Type")]
    pub(crate) protocol: String,
}

/// `GET /images/{name}/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Image {
    pub(crate) id: String,
}

/// A row of `POST /images/fsck`, which only the system engine has.
#[derive(Debug, Deserialize)]
pub(crate) struct Damage {
    pub(crate) image: String,
    pub(crate) what: String,
    pub(crate) repaired: bool,
}

/// `POST /images/prune`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Pruned {
    /// Each entry has a key `Untagged` or `Deleted`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) images_deleted: Vec<Map<String, Value>>,
    /// Bytes.
    pub(crate) space_reclaimed: u64,
}

/// Go's servers write null for an empty list.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
