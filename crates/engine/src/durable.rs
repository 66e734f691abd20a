//! Writes that last: a cut of power at any instant leaves the old or the new.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Replaces a file: temporary file, fsync, rename, fsync of the folder.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let act = || format!("writing {}", path.display());
    let folder = path.parent().with_context(act)?;
    fs::create_dir_all(folder).with_context(act)?;
    let mut name = path.file_name().with_context(act)?.to_owned();
    name.push(format!(".{}.new", &crate::id::new_id()[..8]));
    let fresh = folder.join(name);
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, path)) {
        let _ = fs::remove_file(&fresh);
        return Err(error).with_context(act);
    }
    sync_folder(folder)
}

/// Replaces a file with a value as JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write(path, &serde_json::to_vec(value).with_context(|| format!("writing {}", path.display()))?)
}

/// Renames what is complete into its place, so that both its content and its name last.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a path without a folder")?;
    fs::create_dir_all(folder)?;
    let source = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    // A tree is made of more than one file: everything of its file system is written out.
    if source.metadata()?.is_dir() {
        rustix::fs::syncfs(&source)?
    } else {
        source.sync_all()?
    }
    fs::rename(from, to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("writing {} out", folder.display()))
}
