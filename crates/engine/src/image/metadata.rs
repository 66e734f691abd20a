//! What is known of an image: its names, its layers, and the configuration that containers get
//! from it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An image as containers and clients see it.
#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:` and the digest of its configuration.
    pub id: String,
    /// Its names with tags, in the short form.
    pub references: Vec<String>,
    /// `name@sha256:…` of the manifests that it was pulled by.
    pub digests: Vec<String>,
    /// RFC 3339.
    pub created: String,
    /// Bytes of its unpacked files.
    pub size: u64,
    /// The folders of its layers, uppermost first, as overlayfs takes them.
    pub lower: Vec<PathBuf>,
    pub config: Config,
    /// The complete OCI image configuration.
    pub raw: Value,
    pub tier: Tier,
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// In the system image: cannot be removed.
    Embedded,
    /// In the store on the state disk.
    Stored,
}

/// The part of an OCI image configuration that the engine acts on.
/// <https://github.com/opencontainers/image-spec/blob/main/config.md>
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    #[serde(deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// As Docker's API has it: durations in nanoseconds.
    pub healthcheck: Option<Value>,
}

/// Images in the wild write `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}
