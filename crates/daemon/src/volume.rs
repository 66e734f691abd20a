//! Volumes: folders on the state disk with a name.

use corral_engine::durable;
use corral_engine::error::EngineError;
use corral_engine::paths;
use corral_engine::time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The label of a volume that was made for a container that named none.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) name: String,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) labels: BTreeMap<String, String>,
}

fn folder() -> PathBuf {
    Path::new(paths::STORE).join("volumes")
}

impl Volume {
    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        folder().join(&self.name).join("_data")
    }
}

/// Every volume, by name.
pub(crate) fn all() -> Vec<Volume> {
    let Ok(items) = fs::read_dir(folder()) else { return Vec::new() };
    let mut all: Vec<Volume> =
        items.flatten().filter_map(|item| find(&item.file_name().to_string_lossy()).ok()).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The volume of a name.
pub(crate) fn find(name: &str) -> Result<Volume, EngineError> {
    check(name)?;
    let text = fs::read(folder().join(name).join("volume.json")).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or_else(|| EngineError::NotFound(format!("get {name}: no such volume")))
}

/// Makes a volume, unless there is one of that name.
pub(crate) fn create(name: &str, labels: BTreeMap<String, String>) -> Result<Volume, EngineError> {
    if let Ok(known) = find(name) {
        return Ok(known);
    }
    check(name)?;
    let volume = Volume { name: name.to_owned(), created: time::rfc3339(time::now()), labels };
    let failed = |error| EngineError::Failed(format!("creating volume {name}: {error}"));
    fs::create_dir_all(volume.data()).map_err(failed)?;
    durable::write_json(&folder().join(name).join("volume.json"), &volume)?;
    Ok(volume)
}

/// Removes a volume with all that is in it.
pub(crate) fn remove(name: &str) -> Result<(), EngineError> {
    let volume = find(name)?;
    let failed = |error| EngineError::Failed(format!("removing volume {name}: {error}"));
    // First it is no volume any more; what is left of it after a power cut does no harm.
    fs::remove_file(folder().join(&volume.name).join("volume.json")).map_err(failed)?;
    fs::remove_dir_all(folder().join(&volume.name)).map_err(failed)
}

/// A name becomes a folder's.
pub(crate) fn check(name: &str) -> Result<(), EngineError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && name.bytes().all(good) && name.len() <= 200 {
        return Ok(());
    }
    Err(EngineError::BadRequest(format!(
        "{name:?} is not a valid volume name: use letters, digits, _ . and -; \
         for a folder of the host give its absolute path"
    )))
}

/// Bytes of the files of a folder.
pub(crate) fn size(folder: &Path) -> u64 {
    let Ok(items) = fs::read_dir(folder) else { return 0 };
    let each = |item: fs::DirEntry| match item.metadata() {
        Ok(data) if data.is_dir() => size(&item.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    items.flatten().map(each).sum()
}
