//! A folder of a story's own. Its disks go with the story, for dozens of them would fill a build machine; the logs of the
//! last run stay for whoever wants to know why.

use anyhow::{Context, Result};
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// What is larger than this, in bytes, is a disk or an archive, and no log.
const LARGE: u64 = 16 << 20;

/// Emptied at the start; what is large in it is removed at the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

/// Makes the folder.
pub fn folder(name: &str) -> Result<Folder> {
    let folder = std::env::temp_dir().join(format!("corral-story-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(Folder(folder))
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove_what_is_large(&self.0);
    }
}

fn remove_what_is_large(folder: &Path) {
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        match item.metadata() {
            Ok(data) if data.is_dir() => remove_what_is_large(&item.path()),
            Ok(data) if data.is_file() && data.len() > LARGE => drop(fs::remove_file(item.path())),
            _ => {}
        }
    }
}
