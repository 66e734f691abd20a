//! Images, in two tiers: those embedded in the system image, and those pulled or loaded, in the store on the state disk.

mod archive;
pub mod artifact;
mod download;
mod embedded;
pub mod fsck;
mod gc;
mod layer;
pub(crate) mod pull;
mod push;
pub(crate) mod reference;
pub mod registry;
pub mod store;

pub use archive::save;
pub(crate) use layer::decompress;
pub use pull::Progress;
pub use store::Store;

use crate::error::EngineError;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
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
    /// The folders of its layers, uppermost first, as overlayfs wants them.
    pub lower: Vec<PathBuf>,
    pub config: Config,
    /// The whole OCI image configuration.
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
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// Every image, by name.
pub fn load_all() -> Vec<Image> {
    let mut images = embedded::load_all();
    let stored = store::load_all();
    for (name, id) in store::References::load().names {
        // A name that was given to an embedded image.
        if let Some(image) =
            images.iter_mut().find(|image| image.id == id && !image.references.contains(&name))
        {
            image.references.push(name);
        }
    }
    images.extend(stored);
    images
}

/// Is the image of that name part of the system image?
pub fn is_embedded(name: &str) -> bool {
    embedded::find(name).is_some()
}

/// The image of that name, id or unique beginning of an id.
pub fn find(name: &str) -> Result<Image, EngineError> {
    if let Some(image) = embedded::find(name) {
        return Ok(image);
    }
    let id = store::resolve(name)?;
    match store::load(&id) {
        Some(image) => Ok(image),
        None => embedded::find(&id).ok_or_else(|| EngineError::NoSuchImage(name.to_owned())),
    }
}

/// `sha256:` and the hexadecimal digest of bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    digest_text(Sha256::new_with_prefix(bytes))
}

/// The digest that a hasher came to.
pub(crate) fn digest_text(hasher: Sha256) -> String {
    let hex: Vec<String> = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}
