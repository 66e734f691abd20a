//! The store on the state disk:
//!
//! - `blobs/sha256/<hex>`: configurations, manifests and layers as they came, by their digest;
//! - `layers/<hex>`: layers unpacked, by the digest of their uncompressed archive;
//! - `images/<hex>.json`: which blobs and layers an image is made of, by its id;
//! - `references.json`: which name means which image;
//! - `references.copy.json`: the same, for a disk that damages one;
//! - `incoming/`: what is not complete.
//!
//! Everything is complete and on the disk before what refers to it is. So a power cut at any
//! instant leaves the old state or the new. Only the engine daemon writes; helpers read.

use super::digest::hex;
use super::metadata::{Config, Image, Tier};
use crate::paths;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of the uncompressed archive.
    pub diff_id: String,
    /// Digest of the blob as it came.
    pub digest: String,
    /// Bytes of the blob.
    pub size: u64,
    pub media_type: String,
}

/// What an image is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredImage {
    /// Digest of its configuration.
    pub id: String,
    /// Digest of its manifest.
    pub manifest: String,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Bytes of its unpacked files.
    pub size: u64,
}

/// Which name means which image.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct References {
    /// `name:tag` → id.
    pub names: BTreeMap<String, String>,
    /// `name@digest` → id.
    pub digests: BTreeMap<String, String>,
}

pub fn folder() -> PathBuf {
    Path::new(paths::STORE).join("image")
}

/// The file of a blob. The digest was checked to be one: see [`hex`].
pub fn blob(digest: &str) -> PathBuf {
    folder().join("blobs/sha256").join(hex(digest))
}

/// The unpacked tree of a layer.
pub fn layer(diff_id: &str) -> PathBuf {
    folder().join("layers").join(hex(diff_id))
}

pub fn stored_file(id: &str) -> PathBuf {
    folder().join("images").join(format!("{}.json", hex(id)))
}

impl References {
    pub fn load() -> References {
        let read = |name| serde_json::from_slice(&fs::read(folder().join(name)).ok()?).ok();
        ["references.json", "references.copy.json"].into_iter().find_map(read).unwrap_or_default()
    }
}

pub fn load_stored(id: &str) -> Option<StoredImage> {
    serde_json::from_slice(&fs::read(stored_file(id)).ok()?).ok()
}

/// When a container was last made of an image, or it was pulled.
pub fn last_used(id: &str) -> Option<std::time::SystemTime> {
    fs::metadata(stored_file(id)).and_then(|data| data.modified()).ok()
}

pub fn all_stored() -> Vec<StoredImage> {
    split_stored().0
}

/// Every image, and the files of images that cannot be read.
pub fn split_stored() -> (Vec<StoredImage>, Vec<PathBuf>) {
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    for item in fs::read_dir(folder().join("images")).into_iter().flatten().flatten() {
        let path = item.path();
        match fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<StoredImage>(&text).ok())
        {
            Some(kept) => all.push(kept),
            // What a power cut left of a write is not named as an image is.
            None if path.extension().is_some_and(|extension| extension == "json") => {
                damaged.push(path);
            }
            None => {}
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    (all, damaged)
}

/// Every image of the store.
pub fn load_all() -> Vec<Image> {
    let references = References::load();
    all_stored().into_iter().filter_map(|kept| into_image(kept, &references)).collect()
}

pub fn load(id: &str) -> Option<Image> {
    into_image(load_stored(id)?, &References::load())
}

fn into_image(kept: StoredImage, references: &References) -> Option<Image> {
    let raw: Value = serde_json::from_slice(&fs::read(blob(&kept.id)).ok()?).ok()?;
    let config: Config = serde_json::from_value(raw["config"].clone()).unwrap_or_default();
    let names = |table: &BTreeMap<String, String>| {
        table.iter().filter(|(_, id)| **id == kept.id).map(|(name, _)| name.clone()).collect()
    };
    Some(Image {
        references: names(&references.names),
        digests: names(&references.digests),
        created: raw["created"].as_str().unwrap_or("1970-01-01T00:00:00Z").to_owned(),
        size: kept.size,
        lower: kept.layers.iter().rev().map(|each| layer(&each.diff_id)).collect(),
        id: kept.id,
        config,
        raw,
        tier: Tier::Stored,
    })
}
