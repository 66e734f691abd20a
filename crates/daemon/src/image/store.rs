//! The writing side of the store on the state disk: blobs, the images that are made of them, and
//! their names. What is where, and how it is read, is in `layout`.

use anyhow::{Context, Result};
use corral_engine::durable;
use corral_engine::error::EngineError;
use corral_engine::image::digest::{digest, hex};
use corral_engine::image::layout::{References, StoredImage, blob, folder, stored_file};
use corral_engine::image::metadata::{Image, Tier};
use corral_engine::image::{lookup, reference};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The writing side of the store.
#[derive(Debug, Default)]
pub struct Store {
    references: Mutex<()>,
    /// One download or unpacking of a digest at a time.
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

pub(super) fn incoming(name: &str) -> PathBuf {
    folder().join("incoming").join(name)
}

/// Writes both copies of the names.
fn save(references: &References) -> Result<()> {
    durable::write_json(&folder().join("references.json"), references)?;
    durable::write_json(&folder().join("references.copy.json"), references)
}

/// Notes that a container is made of an image.
pub(crate) fn touch(id: &str) {
    if let Ok(file) = fs::File::options().append(true).open(stored_file(id)) {
        // It only decides what is cleaned up first.
        let _ = file.set_modified(std::time::SystemTime::now());
    }
}

impl Store {
    /// Locks a digest. A task that waits for the lock finds the work done, or does it itself.
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
    pub(super) fn commit(
        &self,
        kept: &StoredImage,
        names: &[String],
        digests: &[String],
    ) -> Result<()> {
        let _writing = self.writing();
        durable::write_json(&stored_file(&kept.id), kept)?;
        let mut references = References::load();
        for name in names {
            references.names.insert(name.clone(), kept.id.clone());
        }
        for name in digests {
            references.digests.insert(name.clone(), kept.id.clone());
        }
        save(&references)
    }

    /// Gives an image one more name.
    pub fn tag(&self, image: &str, name: &str) -> Result<(), EngineError> {
        let image = lookup::find(image)?;
        let name = reference::familiar(name)?;
        if name.contains('@') {
            return Err(EngineError::BadRequest("a tag cannot be a digest".to_owned()));
        }
        if let Ok(taken) = lookup::find(&name)
            && taken.tier == Tier::Embedded
            && taken.references.first() == Some(&name)
        {
            return Err(EngineError::Conflict(format!("{name} is part of the system image")));
        }
        let _writing = self.writing();
        let mut references = References::load();
        references.names.insert(name, image.id);
        Ok(save(&references)?)
    }

    /// Removes a name, or an image with all its names. Returns what was done as
    /// `(Untagged | Deleted, what)`. `used` are the ids of images that containers stand on.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        used: &[String],
    ) -> Result<Vec<(&'static str, String)>, EngineError> {
        let image = lookup::find(name)?;
        let in_use = used.contains(&image.id);
        let Removal { full, is_name, takes_all } = Removal::plan(&image, name, force, in_use)?;
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
        save(&references)?;
        if takes_all && !in_use {
            remove_file(&stored_file(&image.id))?;
            done.push(("Deleted", image.id));
        }
        Ok(done)
    }
}

/// What of an image is to be removed.
struct Removal {
    /// The name, in the form of the store.
    full: String,
    /// It is a name of the image, and not its id.
    is_name: bool,
    /// The image itself goes too.
    takes_all: bool,
}

impl Removal {
    /// An error if the image, or that name of it, must stay.
    fn plan(image: &Image, name: &str, force: bool, in_use: bool) -> Result<Removal, EngineError> {
        let full = reference::familiar(name).unwrap_or_default();
        let is_name = image.references.contains(&full) || image.digests.contains(&full);
        if image.tier == Tier::Embedded && (!is_name || image.references.first() == Some(&full)) {
            return Err(EngineError::Conflict(format!(
                "{name} is part of the system image and cannot be removed"
            )));
        }
        let short = &hex(&image.id)[..12];
        if !is_name && image.references.len() > 1 && !force {
            return Err(EngineError::Conflict(format!(
                "image {short} has several names: remove them, or use force"
            )));
        }
        let has_others = image.references.iter().any(|other| *other != full);
        let takes_all = image.tier == Tier::Stored && (!is_name || !has_others);
        if takes_all && in_use && !(force && is_name) {
            return Err(EngineError::Conflict(format!("image {short} is in use by a container")));
        }
        Ok(Removal { full, is_name, takes_all })
    }
}

fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
}
