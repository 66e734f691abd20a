//! The files of the machine as the resolver reads them: below `/`, in a test below a folder.
//! Planned changes can be laid over them, to see the result. This module writes nothing.

use super::file_change::FileChange;
use anyhow::Result;
use corral_machine::files;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the files of the machine are read. Paths are always absolute paths of the machine.
#[derive(Debug, Clone)]
pub struct Root {
    folder: PathBuf,
    /// Contents of files after the planned changes; None for a file that will be removed.
    planned: BTreeMap<PathBuf, Option<Vec<u8>>>,
    sees_images: bool,
}

impl Root {
    /// The machine itself, as a container of the system has it.
    pub fn machine() -> Root {
        Root { sees_images: false, ..Root::of_pid_1() }
    }

    /// The same with the images of the system engine.
    pub(super) fn of_pid_1() -> Root {
        Root::at("/")
    }

    /// Without them no program can say which ones there are.
    pub(super) fn sees_images(&self) -> bool {
        self.sees_images
    }

    /// A folder that represents the machine.
    pub(super) fn at(folder: impl Into<PathBuf>) -> Root {
        Root { folder: folder.into(), planned: BTreeMap::new(), sees_images: true }
    }

    /// The files as they will be after these changes.
    pub(super) fn after(&self, changes: &[FileChange]) -> Root {
        let mut after = self.clone();
        for change in changes {
            let (path, bytes) = match change {
                FileChange::Write { path, bytes, .. } => (path, Some(bytes.clone())),
                FileChange::Remove { path } => (path, None),
            };
            after.planned.insert(path.clone(), bytes);
        }
        after
    }

    /// The real path of a path of the machine.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.folder.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// True if the path exists after all links are followed.
    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        match self.planned.get(path.as_ref()) {
            Some(planned) => planned.is_some(),
            None => self.path(path).exists(),
        }
    }

    /// The error of lstat(2); None if something exists, even a dangling link.
    pub(super) fn metadata_error(&self, path: impl AsRef<Path>) -> Option<io::Error> {
        match self.planned.get(path.as_ref()) {
            Some(Some(_)) => None,
            Some(None) => Some(not_there()),
            None => fs::symlink_metadata(self.path(path)).err(),
        }
    }

    /// True if it is a folder.
    pub(super) fn is_dir(&self, path: impl AsRef<Path>) -> bool {
        !self.planned.contains_key(path.as_ref()) && self.path(path).is_dir()
    }

    /// The paths in a folder, by name; empty if it cannot be read.
    pub(super) fn list(&self, folder: impl AsRef<Path>) -> Vec<PathBuf> {
        let folder = folder.as_ref();
        let items = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut paths: BTreeSet<PathBuf> =
            items.map(|item| folder.join(item.file_name())).collect();
        for (path, planned) in self.planned.iter().filter(|(path, _)| path.parent() == Some(folder))
        {
            if planned.is_some() {
                paths.insert(path.clone());
            } else {
                paths.remove(path);
            }
        }
        paths.into_iter().collect()
    }

    /// The complete content of a file that Corral wrote.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        match self.planned.get(path.as_ref()) {
            Some(planned) => planned.clone().ok_or_else(not_there),
            None => fs::read(self.path(path)),
        }
    }

    /// The same as text; empty if it cannot be read.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> String {
        self.read(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The id of this boot.
    pub(super) fn boot_id(&self) -> String {
        self.text("/proc/sys/kernel/random/boot_id").trim().to_owned()
    }

    /// Seconds since the boot.
    pub fn uptime(&self) -> Option<u64> {
        self.text("/proc/uptime").split(['.', ' ']).next()?.parse().ok()
    }

    /// The first bytes of a regular file that other users may have written.
    pub(super) fn read_at_most(&self, path: impl AsRef<Path>, most: u64) -> Result<Vec<u8>> {
        match self.planned.get(path.as_ref()) {
            Some(planned) => {
                let mut bytes = planned.clone().ok_or_else(not_there)?;
                bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                Ok(bytes)
            }
            None => files::read_at_most(&self.path(path), most),
        }
    }

    /// The complete content of such a file, if it has at most so many bytes.
    pub(super) fn read_complete(&self, path: impl AsRef<Path>, most: u64) -> Result<Vec<u8>> {
        match self.planned.get(path.as_ref()) {
            Some(planned) => Ok(planned.clone().ok_or_else(not_there)?),
            None => files::read_complete(&self.path(path), most),
        }
    }
}

fn not_there() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_are_not_made_yet_are_seen_and_change_nothing() {
        let folder = std::env::temp_dir().join(format!("corral-root-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::write(folder.join("a/old"), "old").unwrap();
        let root = Root::at(&folder);
        let after = root.after(&[
            FileChange::write("/a/new", "new", 0o600),
            FileChange::remove("/a/old"),
            FileChange::remove("/a/never"),
        ]);
        let list = |root: &Root| -> Vec<String> {
            root.list("/a").iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(
            (list(&root), list(&after)),
            (vec!["/a/old".to_owned()], vec!["/a/new".to_owned()])
        );
        assert_eq!((root.text("/a/old"), after.text("/a/old")), ("old".to_owned(), String::new()));
        assert_eq!(after.read_at_most("/a/new", 2).unwrap(), b"ne");
        assert_eq!(after.read_complete("/a/new", 10).unwrap(), b"new");
        assert!(after.exists("/a/new") && !after.exists("/a/old") && root.exists("/a/old"));
        assert!(
            after
                .metadata_error("/a/old")
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        );
        assert!(after.is_dir("/a") && !after.is_dir("/a/new"));
        fs::remove_dir_all(folder).unwrap();
    }
}
