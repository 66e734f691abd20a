//! A change of one file that was decided but not made yet: a value, which only `apply` writes.

use std::path::{Path, PathBuf};

/// The new state of a file. The change is atomic and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileChange {
    /// It has these bytes, and this mode.
    Write { path: PathBuf, bytes: Vec<u8>, mode: u32 },
    /// It is gone, if it was there.
    Remove { path: PathBuf },
}

impl FileChange {
    pub(super) fn write(
        path: impl Into<PathBuf>,
        bytes: impl Into<Vec<u8>>,
        mode: u32,
    ) -> FileChange {
        FileChange::Write { path: path.into(), bytes: bytes.into(), mode }
    }

    pub(super) fn remove(path: impl Into<PathBuf>) -> FileChange {
        FileChange::Remove { path: path.into() }
    }

    /// The file that it changes.
    pub(super) fn path(&self) -> &Path {
        match self {
            FileChange::Write { path, .. } | FileChange::Remove { path } => path,
        }
    }
}
