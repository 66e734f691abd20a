//! What `cargo xtask image --full` adds to the image: the second tier of drivers, and the ISO with
//! it.

use crate::drivers::Drivers;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The second tier of drivers, and the ISO with both.
#[derive(Debug, Clone)]
pub(crate) struct Full {
    pub(crate) iso: PathBuf,
    pub(crate) drivers: Drivers,
}

impl Full {
    pub(super) fn at(folder: &Path, version: &str) -> Full {
        let iso = folder.join(format!("corral-{version}-amd64-full.iso"));
        Full { iso, drivers: Drivers::at(folder) }
    }

    /// Replaces what the last build left by these files, or by nothing.
    pub(super) fn replace(self, drivers: Option<&Drivers>) -> Result<Option<Full>> {
        for old in [&self.iso, &self.drivers.image, &self.drivers.initrd] {
            let _ = fs::remove_file(old);
        }
        let Some(drivers) = drivers else { return Ok(None) };
        fs::copy(&drivers.image, &self.drivers.image).context("copying drivers.erofs")?;
        fs::copy(&drivers.initrd, &self.drivers.initrd).context("copying drivers.initrd")?;
        Ok(Some(self))
    }
}
