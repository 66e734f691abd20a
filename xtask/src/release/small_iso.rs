//! The small ISO of a release. With our own kernel it is of an image that is built before that of
//! all other files, and kept by the hash of what that is made of.

use crate::image::{self, KernelChoice, Options};
use crate::{durable, paths, sum};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Builds it, unless it is there. None if it has Debian's kernel like the rest.
pub(super) fn build(wanted: &Options) -> Result<Option<PathBuf>> {
    if wanted.kernel == KernelChoice::Debian {
        return Ok(None);
    }
    let wanted = Options { full: false, ..wanted.clone() };
    let ingredients = image::gather(&wanted)?;
    let folder = paths::cache("small-iso");
    let kept = folder.join(format!("{}.iso", sum::digest_of_bytes(&ingredients.stamp)));
    if !kept.exists() {
        let image = image::write(&ingredients, &wanted)?;
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        keep(&image.iso, &kept)?;
    }
    Ok(Some(kept))
}

fn keep(iso: &Path, kept: &Path) -> Result<()> {
    let fresh = kept.with_extension("new");
    fs::copy(iso, &fresh).context("keeping the small ISO")?;
    durable::sync(&fresh)?;
    durable::rename(&fresh, kept)
}
