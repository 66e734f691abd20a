//! Finds the image that was built last.

use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The files of an image.
#[derive(Debug, Clone)]
pub struct Image {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub system: PathBuf,
    pub iso: PathBuf,
    /// The ISO with all drivers, if it was built (`cargo xtask image --full`).
    pub full_iso: Option<PathBuf>,
    /// The release as one file, for upgrades.
    pub archive: PathBuf,
    /// Releases that only stories upgrade to.
    pub releases: PathBuf,
    /// Archives of replacement engines.
    pub engines: PathBuf,
    /// Archives of images that services of the catalogue take from a release.
    pub services: PathBuf,
    /// Where stories keep the disk that they all start from: this image, installed.
    pub installed: PathBuf,
    /// Programs that stories start on the host.
    pub tools: PathBuf,
    /// Our own program, as it is in the image.
    pub ros: PathBuf,
    /// The same system for User-Mode Linux; none if its kernel cannot be built.
    pub uml: Option<UmlImage>,
}

/// The image for User-Mode Linux: the same system, with the modules of the test kernel.
#[derive(Debug, Clone)]
pub struct UmlImage {
    /// The test kernel, a program.
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub system: PathBuf,
    /// The program that provides the network of these machines.
    pub slirp: PathBuf,
    /// Where machines note which processors they run on.
    pub(crate) cpus: PathBuf,
}

impl UmlImage {
    fn find(target: &Path) -> Option<UmlImage> {
        let folder = target.join("corral/uml");
        let image = UmlImage {
            kernel: folder.join("linux"),
            initrd: folder.join("initrd"),
            system: folder.join("system.erofs"),
            slirp: target.join("corral/tools/slirp4netns"),
            cpus: folder.join("cpus"),
        };
        [&image.kernel, &image.initrd, &image.system, &image.slirp]
            .iter()
            .all(|file| file.exists())
            .then_some(image)
    }
}

impl Image {
    /// The image in `target/image`.
    pub fn find() -> Result<Image> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = target.join("image");
        let full = folder.join(concat!("corral-", env!("CARGO_PKG_VERSION"), "-amd64-full.iso"));
        let image = Image {
            full_iso: full.exists().then_some(full),
            ros: target.join("corral/ros"),
            engines: target.join("engines"),
            services: target.join("services"),
            installed: target.join("corral/installed"),
            tools: target.join("corral/tools"),
            kernel: folder.join("vmlinuz"),
            initrd: folder.join("initrd"),
            system: folder.join("system.erofs"),
            archive: folder.join(concat!("corral-", env!("CARGO_PKG_VERSION"), "-amd64.oci.tar")),
            releases: target.join("corral/releases"),
            iso: folder.join(concat!("corral-", env!("CARGO_PKG_VERSION"), "-amd64.iso")),
            uml: UmlImage::find(&target),
        };
        if !image.iso.exists() && image.uml.is_none() {
            bail!("{} is not there: run `cargo xtask image` first", image.iso.display());
        }
        Ok(image)
    }

    /// Can tests trigger a bug in its PID 1? An image that is packed as a release is what ships,
    /// and has no such hook.
    pub fn has_hooks(&self) -> Result<bool> {
        let mut ros = Command::new(&self.ros);
        ros.arg0("ros").args(["os", "panic", "--help"]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(ros.status().with_context(|| format!("starting {}", self.ros.display()))?.success())
    }
}
