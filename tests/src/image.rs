//! Where the image is that was built last.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The files of an image.
#[derive(Debug, Clone)]
pub struct Image {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub system: PathBuf,
    pub iso: PathBuf,
    /// The same as one file, for upgrades.
    pub archive: PathBuf,
    /// Releases that only stories upgrade to.
    pub releases: PathBuf,
    /// Programs that stories start on the host.
    pub tools: PathBuf,
    /// Our own program, as it is in the image.
    pub ros: PathBuf,
}

impl Image {
    /// The image in `target/image`.
    pub fn find() -> Result<Image> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = target.join("image");
        let image = Image {
            ros: target.join("x86_64-unknown-linux-gnu/quick/ros"),
            tools: target.join("corral/tools"),
            kernel: folder.join("vmlinuz"),
            initrd: folder.join("initrd"),
            system: folder.join("system.erofs"),
            archive: folder.join(concat!("corral-", env!("CARGO_PKG_VERSION"), "-amd64.oci.tar")),
            releases: target.join("corral/releases"),
            iso: folder.join(concat!("corral-", env!("CARGO_PKG_VERSION"), "-amd64.iso")),
        };
        if !image.iso.exists() {
            bail!("{} is not there: run `cargo xtask image` first", image.iso.display());
        }
        Ok(image)
    }
}
