//! A package of Debian, and where its files are on this machine.

use crate::paths;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One package as it went into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Debian's name of it.
    pub(crate) name: String,
    /// Debian's version of it.
    pub(crate) version: String,
    /// SHA-256 of the .deb file.
    pub(crate) sha256: String,
    /// Name of the .deb file in the pool.
    pub(crate) file: String,
}

impl Package {
    /// The folder with its unpacked files.
    pub(crate) fn files(&self) -> PathBuf {
        paths::shared_cache("unpacked").join(&self.sha256)
    }

    /// The .deb file.
    pub(crate) fn archive(&self) -> PathBuf {
        Package::deb(&self.sha256)
    }

    /// Is it a file of a source package?
    pub(crate) fn is_source(&self) -> bool {
        !self.file.ends_with(".deb")
    }

    /// The same by its hash.
    pub(super) fn deb(sha256: &str) -> PathBuf {
        paths::shared_cache("pool").join(format!("{sha256}.deb"))
    }
}
