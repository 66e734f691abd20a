//! Archives of images that the owner put below `/var/lib/rancher/preload`, in the folder of an
//! engine: which of them have to be loaded. Each is loaded once; a newer one again.

use super::root::Root;
use corral_docker::Engine;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/var/lib/rancher/preload";
/// A loaded archive has a file of its name with this suffix.
const STAMP: &str = ".done";

/// Archives to load into an engine, by name.
pub fn waiting(engine: Engine, root: &Root) -> Vec<PathBuf> {
    let name = match engine {
        Engine::System => "system-docker",
        Engine::User => "docker",
    };
    waiting_in(&root.path(Path::new(FOLDER).join(name)))
}

/// The file that marks an archive as loaded.
pub fn stamp(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(STAMP);
    PathBuf::from(name)
}

/// Archives without a stamp, or newer than theirs; by name.
fn waiting_in(folder: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut archives: Vec<PathBuf> =
        items.map(|item| item.path()).filter(|path| is_waiting(path)).collect();
    archives.sort();
    archives
}

fn is_waiting(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.starts_with('.') || name.ends_with(STAMP) {
        return false;
    }
    let Ok(archive) = fs::metadata(path) else { return false };
    // Compares ctime: a copy that keeps its mtime is a new file too.
    let changed = |of: &Metadata| (of.ctime(), of.ctime_nsec());
    archive.is_file()
        && fs::metadata(stamp(path)).map_or(true, |stamp| changed(&stamp) < changed(&archive))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    #[test]
    fn an_archive_is_loaded_once_and_a_newer_one_again() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("corral-preload-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub"))?;
        for name in ["b.tar", "a.tar.gz", ".partial", "old.tar.done"] {
            fs::write(folder.join(name), name)?;
        }
        let names = |folder: &Path| -> Vec<String> {
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            waiting_in(folder).iter().map(name).collect()
        };
        assert_eq!(names(&folder), ["a.tar.gz", "b.tar"]);
        fs::write(stamp(&folder.join("b.tar")), "")?;
        assert_eq!(names(&folder), ["a.tar.gz"]);
        fs::remove_file(folder.join("b.tar"))?;
        fs::write(folder.join("b.tar"), "newer")?;
        assert_eq!(names(&folder), ["a.tar.gz", "b.tar"]);
        assert!(waiting_in(&folder.join("nothing")).is_empty());
        fs::remove_dir_all(folder).map_err(Into::into)
    }
}
