//! A change of one file that was decided on and is not made yet: a value, which `apply` alone
//! makes.

use std::path::PathBuf;

/// What is to become of a file of the machine. Made in one step, and so that it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileChange {
    /// It has these bytes, and this mode.
    Write { path: PathBuf, bytes: Vec<u8>, mode: u32 },
    /// It is gone, if it was there.
    Remove { path: PathBuf },
}

impl FileChange {
    pub(super) fn write(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>, mode: u32) -> FileChange {
        FileChange::Write { path: path.into(), bytes: bytes.into(), mode }
    }

    pub(super) fn remove(path: impl Into<PathBuf>) -> FileChange {
        FileChange::Remove { path: path.into() }
    }
}
