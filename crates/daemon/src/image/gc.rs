//! Removes what is not used: layers and blobs without an image, and stale downloads. When the disk
//! is nearly full, also images that no container stands on, those used longest ago first.

use super::store::{Store, incoming};
use anyhow::Result;
use corral_engine::error::EngineError;
use corral_engine::image::digest::hex;
use corral_engine::image::layout::{self, StoredImage};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A partial download that was not touched for so long is given up.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// What was cleaned up.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// `(Untagged | Deleted, what)`.
    pub images: Vec<(&'static str, String)>,
    /// Bytes of the disk that are free again.
    pub bytes: u64,
}

/// Which images may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Only what belongs to no image.
    Leftovers,
    /// Also images without a name that no container stands on.
    Dangling,
    /// Every image that no container stands on.
    Unused,
}

impl Store {
    /// Cleans up. `used` are the ids of images that containers stand on.
    pub fn clean(&self, which: Which, used: &[String]) -> Result<Cleaned, EngineError> {
        let before = free_bytes();
        let mut cleaned = Cleaned::default();
        if which != Which::Leftovers {
            let references = layout::References::load();
            for kept in layout::all_stored() {
                let named = references.names.values().any(|id| *id == kept.id);
                if !used.contains(&kept.id) && (which == Which::Unused || !named) {
                    cleaned.images.extend(self.remove(&kept.id, true, used)?);
                }
            }
        }
        self.remove_leftovers()?;
        cleaned.bytes = free_bytes().saturating_sub(before);
        Ok(cleaned)
    }

    /// Removes unused images, oldest use first, until the disk is less than `percent` full.
    pub fn relieve(&self, percent: u64, used: &[String]) -> Result<Cleaned, EngineError> {
        let before = free_bytes();
        let mut cleaned = Cleaned::default();
        if is_damaged() {
            return Ok(cleaned);
        }
        self.remove_leftovers()?;
        let mut unused: Vec<StoredImage> =
            layout::all_stored().into_iter().filter(|kept| !used.contains(&kept.id)).collect();
        unused.sort_by_key(|kept| layout::last_used(&kept.id));
        for kept in unused {
            if used_percent() < percent {
                break;
            }
            cleaned.images.extend(self.remove(&kept.id, true, used)?);
            self.remove_leftovers()?;
        }
        cleaned.bytes = free_bytes().saturating_sub(before);
        Ok(cleaned)
    }

    /// Removes what no image refers to. Not while something is fetched: it has no image yet.
    fn remove_leftovers(&self) -> Result<()> {
        if self.is_busy() || is_damaged() {
            return Ok(());
        }
        let all = layout::all_stored();
        let layers: BTreeSet<&str> =
            all.iter().flat_map(|kept| &kept.layers).map(|layer| hex(&layer.diff_id)).collect();
        let blobs: BTreeSet<&str> = all
            .iter()
            .flat_map(|kept| {
                kept.layers.iter().map(|layer| &layer.digest).chain([&kept.id, &kept.manifest])
            })
            .map(|digest| hex(digest))
            .collect();
        for name in names_in(&layout::folder().join("layers")) {
            if !layers.contains(name.as_str()) {
                remove_tree(&layout::folder().join("layers").join(&name), &name)?;
            }
        }
        for name in names_in(&layout::folder().join("blobs/sha256")) {
            if !blobs.contains(name.as_str()) {
                let _ = fs::remove_file(layout::folder().join("blobs/sha256").join(name));
            }
        }
        for name in names_in(&layout::folder().join("incoming")) {
            let path = incoming(&name);
            let is_download =
                Path::new(&name).extension().is_some_and(|extension| extension == "partial");
            if !is_download || is_stale(&path) {
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
        Ok(())
    }
}

/// Is an image damaged? Then a warning names it: what its file refers to may be all that is left of
/// an image that the owner made.
fn is_damaged() -> bool {
    let damaged = layout::split_stored().1;
    for file in &damaged {
        let file = file.display();
        eprintln!(
            "the image store is not cleaned up: {file} cannot be read; \
             remove it if you do not need it"
        );
    }
    !damaged.is_empty()
}

/// A tree leaves its place in one step, so that a cut of power leaves no half of a layer.
fn remove_tree(path: &Path, name: &str) -> Result<()> {
    let gone = incoming(&format!("gone-{name}"));
    fs::create_dir_all(layout::folder().join("incoming"))?;
    fs::rename(path, &gone)?;
    Ok(fs::remove_dir_all(gone)?)
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(items) = fs::read_dir(folder) else { return Vec::new() };
    items.flatten().filter_map(|item| item.file_name().into_string().ok()).collect()
}

fn is_stale(path: &Path) -> bool {
    let touched = fs::metadata(path).and_then(|data| data.modified());
    touched.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > STALE))
}

fn free_bytes() -> u64 {
    rustix::fs::statvfs(corral_engine::paths::STORE).map_or(0, |data| data.f_bavail * data.f_frsize)
}

/// How full the disk of the store is.
pub(crate) fn used_percent() -> u64 {
    rustix::fs::statvfs(corral_engine::paths::STORE).map_or(0, |data| {
        100 - (data.f_bavail * 100).checked_div(data.f_blocks).unwrap_or(100).min(100)
    })
}
