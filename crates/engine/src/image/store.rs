//! The store on the state disk:
//!
//! - `blobs/sha256/<hex>`: configurations, manifests and layers as they came, by their digest;
//! - `layers/<hex>`: layers unpacked, by the digest of their uncompressed archive;
//! - `images/<hex>.json`: which blobs and layers an image is made of, by its id;
//! - `references.json`: which name means which image; `references.copy.json` is the same, for a disk that damages one;
//! - `incoming/`: what is not complete.
//!
//! Everything is complete and on the disk before what refers to it is: a cut of power at any instant leaves the old or
//! the new. Only the engine daemon writes; helpers read.

use super::{Config, Image, Tier, digest};
use crate::durable;
use crate::error::EngineError;
use crate::paths;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use super::gc::{Cleaned, Which, used_percent};

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: String,
    /// Digest of the blob as it came.
    pub(crate) digest: String,
    /// Bytes of the blob.
    pub(crate) size: u64,
    pub(crate) media_type: String,
}

/// What an image is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Digest of its configuration.
    pub(crate) id: String,
    /// Digest of its manifest.
    pub(crate) manifest: String,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
    /// Bytes of its unpacked files.
    pub(crate) size: u64,
}

/// Which name means which image.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct References {
    /// `name:tag` → id.
    pub(crate) names: BTreeMap<String, String>,
    /// `name@digest` → id.
    pub(crate) digests: BTreeMap<String, String>,
}

/// The writing side of the store.
#[derive(Debug, Default)]
pub struct Store {
    references: Mutex<()>,
    /// One download or unpacking of a digest at a time.
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(paths::STORE).join("image")
}

/// The file of a blob. The digest was checked to be one: see [`hex`].
pub(crate) fn blob(digest: &str) -> PathBuf {
    folder().join("blobs/sha256").join(hex(digest))
}

/// The unpacked tree of a layer.
pub(crate) fn layer(diff_id: &str) -> PathBuf {
    folder().join("layers").join(hex(diff_id))
}

pub(super) fn incoming(name: &str) -> PathBuf {
    folder().join("incoming").join(name)
}

fn kept_file(id: &str) -> PathBuf {
    folder().join("images").join(format!("{}.json", hex(id)))
}

/// The digits of a digest; of anything else, what cannot be a path.
pub(crate) fn hex(digest: &str) -> &str {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    let is_hex = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { digits } else { "not-a-digest" }
}

impl References {
    pub(crate) fn load() -> References {
        let read = |name| serde_json::from_slice(&fs::read(folder().join(name)).ok()?).ok();
        ["references.json", "references.copy.json"].into_iter().find_map(read).unwrap_or_default()
    }

    fn save(&self) -> Result<()> {
        durable::write_json(&folder().join("references.json"), self)?;
        durable::write_json(&folder().join("references.copy.json"), self)
    }
}

pub(crate) fn load_kept(id: &str) -> Option<Kept> {
    serde_json::from_slice(&fs::read(kept_file(id)).ok()?).ok()
}

/// When a container was last made of an image, or it was pulled.
pub(super) fn last_used(id: &str) -> Option<std::time::SystemTime> {
    fs::metadata(kept_file(id)).and_then(|data| data.modified()).ok()
}

/// Notes that a container is made of an image.
pub(crate) fn touch(id: &str) {
    if let Ok(file) = fs::File::options().append(true).open(kept_file(id)) {
        // It only says what is cleaned up first.
        let _ = file.set_modified(std::time::SystemTime::now());
    }
}

pub(crate) fn all_kept() -> Vec<Kept> {
    split_kept().0
}

/// Every image, and the files of images that cannot be read.
pub(crate) fn split_kept() -> (Vec<Kept>, Vec<PathBuf>) {
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    for item in fs::read_dir(folder().join("images")).into_iter().flatten().flatten() {
        let path = item.path();
        match fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok()) {
            Some(kept) => all.push(kept),
            // What a power cut left of a write is not named as an image is.
            None if path.extension().is_some_and(|ending| ending == "json") => damaged.push(path),
            None => {}
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    (all, damaged)
}

/// Every image of the store.
pub(super) fn load_all() -> Vec<Image> {
    let references = References::load();
    all_kept().into_iter().filter_map(|kept| into_image(kept, &references)).collect()
}

pub(super) fn load(id: &str) -> Option<Image> {
    into_image(load_kept(id)?, &References::load())
}

fn into_image(kept: Kept, references: &References) -> Option<Image> {
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

/// The id that a name, an id or the beginning of one stands for.
pub(super) fn resolve(name: &str) -> Result<String, EngineError> {
    // A whole id needs no look at names, which takes a helper longer than all the rest of its work.
    if name.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && is_hex(digits)) {
        return Ok(name.to_owned());
    }
    let unknown = || EngineError::NoSuchImage(name.to_owned());
    let references = References::load();
    if let Some(id) = references.names.get(name) {
        return Ok(id.clone());
    }
    if let Ok(full) = super::reference::familiar(name)
        && let Some(id) = references.names.get(&full).or_else(|| references.digests.get(&full))
    {
        return Ok(id.clone());
    }
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    if digits.is_empty() || !is_hex(digits) {
        return Err(unknown());
    }
    let begins = |id: &String| hex(id).starts_with(digits);
    let ids = all_kept()
        .into_iter()
        .map(|kept| kept.id)
        .chain(super::embedded::load_all().into_iter().map(|image| image.id));
    let mut found = ids.filter(begins);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(EngineError::BadRequest(format!("{name} is the beginning of several ids"))),
        _ => Err(unknown()),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Store {
    /// Locks a digest: whoever waits finds it done, or does it himself.
    pub(crate) async fn lock(&self, digest: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(busy.entry(digest.to_owned()).or_default())
        };
        lock.lock_owned().await
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.references.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is something being fetched or unpacked?
    pub(super) fn is_busy(&self) -> bool {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.values().any(|lock| Arc::strong_count(lock) > 1)
    }

    /// Puts bytes into the store; their digest comes back.
    pub(super) fn put_blob(bytes: &[u8]) -> Result<String> {
        let name = digest(bytes);
        let path = blob(&name);
        if !path.exists() {
            durable::write(&path, bytes)?;
        }
        Ok(name)
    }

    /// Commits an image whose blobs and layers are all there.
    pub(super) fn commit(&self, kept: &Kept, names: &[String], digests: &[String]) -> Result<()> {
        let _writing = self.writing();
        durable::write_json(&kept_file(&kept.id), kept)?;
        let mut references = References::load();
        for name in names {
            references.names.insert(name.clone(), kept.id.clone());
        }
        for name in digests {
            references.digests.insert(name.clone(), kept.id.clone());
        }
        references.save()
    }

    /// Gives an image one more name.
    pub fn tag(&self, image: &str, name: &str) -> Result<(), EngineError> {
        let image = super::find(image)?;
        let name = super::reference::familiar(name)?;
        if name.contains('@') {
            return Err(EngineError::BadRequest("a tag cannot be a digest".to_owned()));
        }
        if let Ok(taken) = super::find(&name)
            && taken.tier == Tier::Embedded
            && taken.references.first() == Some(&name)
        {
            return Err(EngineError::Conflict(format!("{name} is part of the system image")));
        }
        let _writing = self.writing();
        let mut references = References::load();
        references.names.insert(name, image.id);
        Ok(references.save()?)
    }

    /// Takes a name away, or an image with all its names; what happened comes back as `(Untagged | Deleted, what)`.
    /// `used` are the ids of images that containers stand on.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        used: &[String],
    ) -> Result<Vec<(&'static str, String)>, EngineError> {
        let image = super::find(name)?;
        let full = super::reference::familiar(name).unwrap_or_default();
        let is_name = image.references.contains(&full) || image.digests.contains(&full);
        if image.tier == Tier::Embedded && (!is_name || image.references.first() == Some(&full)) {
            return Err(EngineError::Conflict(format!(
                "{name} is part of the system image and cannot be removed"
            )));
        }
        let others = image.references.iter().filter(|other| **other != full).count();
        let in_use = used.contains(&image.id);
        let short = &hex(&image.id)[..12];
        if !is_name && image.references.len() > 1 && !force {
            return Err(EngineError::Conflict(format!(
                "image {short} has several names: remove them, or use force"
            )));
        }
        let takes_all = image.tier == Tier::Stored && (!is_name || others == 0);
        if takes_all && in_use && !(force && is_name) {
            return Err(EngineError::Conflict(format!("image {short} is in use by a container")));
        }
        let _writing = self.writing();
        let mut references = References::load();
        let mut done = Vec::new();
        let mut untag = |table: &mut BTreeMap<String, String>, all: bool| {
            let gone: Vec<String> = table
                .iter()
                .filter(|(key, id)| **id == image.id && (all || **key == full))
                .map(|(key, _)| key.clone())
                .collect();
            for key in gone {
                table.remove(&key);
                done.push(("Untagged", key));
            }
        };
        untag(&mut references.names, !is_name);
        untag(&mut references.digests, takes_all);
        references.save()?;
        if takes_all && !in_use {
            remove_file(&kept_file(&image.id))?;
            done.push(("Deleted", image.id));
        }
        Ok(done)
    }
}

fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
}

impl From<anyhow::Error> for EngineError {
    fn from(error: anyhow::Error) -> EngineError {
        match error.downcast::<EngineError>() {
            Ok(error) => error,
            Err(error) => EngineError::Failed(format!("{error:#}")),
        }
    }
}
