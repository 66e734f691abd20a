//! What an engine answers: the fields of each object that are needed here. A field that is missing
//! or null is empty.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `GET /containers/{id}/json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Container {
    pub id: String,
    /// Digest of its image.
    pub image: String,
    pub state: State,
    /// As the client that created it described it: another container is created from it.
    pub config: Value,
    pub host_config: Value,
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    pub network_settings: NetworkSettings,
}

impl Container {
    /// Its image, as named by the client that created it.
    pub fn image_name(&self) -> &str {
        self.config["Image"].as_str().unwrap_or_default()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.config["Labels"][key].as_str()
    }

    /// Does its engine start it after a restart of the machine, unless it was stopped by hand?
    pub fn starts_at_boot(&self) -> bool {
        let policy = self.host_config["RestartPolicy"]["Name"].as_str().unwrap_or_default();
        !["", "no"].contains(&policy)
    }

    pub fn has_terminal(&self) -> bool {
        self.config["Tty"] == true
    }
}

/// The state of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    pub exit_code: i64,
    #[serde(deserialize_with = "or_default")]
    pub error: String,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub started_at: String,
    #[serde(deserialize_with = "or_default")]
    health: Health,
}

impl State {
    /// `starting`, `healthy`, `unhealthy`; None without a health check.
    pub fn health(&self) -> Option<&str> {
        Some(self.health.status.as_str()).filter(|status| !["", "none"].contains(status))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Health {
    status: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Mount {
    #[serde(rename = "RW", default)]
    pub is_writable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// By network name.
    #[serde(deserialize_with = "or_default")]
    pub networks: BTreeMap<String, Value>,
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
pub struct Summary {
    pub id: String,
    /// With a leading slash each.
    #[serde(deserialize_with = "or_default")]
    pub names: Vec<String>,
    pub command: String,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// As in [`State::status`].
    pub state: String,
    /// In words: `Up 2 minutes (healthy)`.
    pub status: String,
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<Port>,
}

impl Summary {
    /// Its own name. The other names are those that links give it: `/other/name`.
    pub fn name(&self) -> Option<&str> {
        self.names.iter().filter_map(|name| name.strip_prefix('/')).find(|name| !name.contains('/'))
    }
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Port {
    // Ports are listed in the order of these fields.
    pub private_port: u16,
    /// Address of the host; empty if it is not published.
    #[serde(rename = "IP")]
    pub address: String,
    pub public_port: u16,
    #[serde(rename = "Type")]
    pub protocol: String,
}

/// `GET /images/{name}/json`, and a row of `GET /images/json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Image {
    pub id: String,
    #[serde(deserialize_with = "or_default")]
    pub repo_tags: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub repo_digests: Vec<String>,
    /// Not in a row of the list, as the next one.
    pub architecture: String,
    config: Value,
}

impl Image {
    pub fn label(&self, key: &str) -> Option<&str> {
        self.config["Labels"][key].as_str()
    }
}

/// A message of `POST /images/load`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Loading {
    pub(super) stream: String,
    /// Empty unless it failed.
    pub(super) error: String,
}

/// A row of `POST /images/fsck`, which only the system engine has.
#[derive(Debug, Deserialize)]
pub struct Damage {
    pub image: String,
    pub what: String,
    pub repaired: bool,
}

/// `POST /images/prune`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Pruned {
    /// Each entry has a key `Untagged` or `Deleted`.
    #[serde(deserialize_with = "or_default")]
    pub images_deleted: Vec<Map<String, Value>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// Go's servers write null for an empty list.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
