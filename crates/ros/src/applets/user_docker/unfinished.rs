//! Databases that dockerd and its containerd could not finish creating: the disk was full, or the
//! power was cut. Both refuse to start with such a file, for ever. It has no content yet.

use corral_machine::console::log;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the data root, with a database each or several. `*` is any folder.
const FOLDERS: [&str; 4] = ["buildkit", "containerd/daemon/*", "network/files", "volumes"];
/// bbolt begins with two pages of metadata, one of free pages and one for keys. Without all four
/// there is no key. <https://github.com/etcd-io/bbolt/blob/main/db.go>
const SMALLEST: u64 = 4 * 4096;

/// Removes them, so that they are created again.
pub(super) fn remove(data_root: &Path) {
    for file in find(data_root) {
        match fs::remove_file(&file) {
            Ok(()) => log(&format!("docker: {} was never complete; removed", file.display())),
            Err(error) => log(&format!("docker: removing {}: {error}", file.display())),
        }
    }
}

fn find(data_root: &Path) -> Vec<PathBuf> {
    let folders = FOLDERS.iter().flat_map(|folder| match folder.strip_suffix("/*") {
        Some(above) => items(&data_root.join(above)),
        None => vec![data_root.join(folder)],
    });
    folders.flat_map(|folder| items(&folder)).filter(|file| is_unfinished(file)).collect()
}

fn items(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path()).collect()
}

/// A file without bytes is fine: bbolt creates its pages.
fn is_unfinished(file: &Path) -> bool {
    let is_database = file.extension().is_some_and(|extension| extension == "db");
    let data = fs::symlink_metadata(file).ok().filter(fs::Metadata::is_file);
    is_database && data.is_some_and(|data| (1..SMALLEST).contains(&data.len()))
}

#[cfg(test)]
mod tests {
    use super::find;
    use std::fs;

    #[test]
    fn only_databases_that_never_held_anything_are_found() {
        let root = std::env::temp_dir().join(format!("corral-unfinished-{}", std::process::id()));
        for (name, size) in [
            ("buildkit/snapshots.db", 4096),
            ("buildkit/cache.db", 0),
            ("buildkit/history.db", 16384),
            ("buildkit/note", 10),
            ("containerd/daemon/io.containerd.metadata.v1.bolt/meta.db", 12288),
            ("containerd/daemon/tmpmounts", 1),
            ("network/files/local-kv.db", 32768),
            ("volumes/metadata.db", 8192),
            ("volumes/mine/_data/small.db", 4096),
            ("volumes/mine/small.db", 4096),
        ] {
            let file = root.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, vec![0; size]).unwrap();
        }
        let mut found: Vec<_> = find(&root)
            .into_iter()
            .map(|file| file.strip_prefix(&root).unwrap().display().to_string())
            .collect();
        found.sort();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            found,
            [
                "buildkit/snapshots.db",
                "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
                "volumes/metadata.db"
            ]
        );
    }
}
