//! The second tier of drivers. If `drivers.erofs` is there, its modules are shown beside those of
//! the system image, and its firmware at the place where the kernel looks for it. If it is damaged,
//! or of another build, the boot goes on without it.

use super::in_memory;
use anyhow::{Context, Result, ensure};
use corral_machine::boot_partition::{BootPartition, booted};
use corral_machine::drivers::{FILES, ID, MOUNT};
use corral_machine::kmsg::{self, Level};
use corral_machine::modules::Index;
use corral_machine::mounts::{self, Mount};
use rustix::mount::MountFlags;
use std::fs;
use std::path::{Path, PathBuf};

const MODULES: &str = "usr/lib/modules";
const FIRMWARE: &str = "usr/lib/firmware";

/// Adds them to the new root, in which the medium is mounted already.
pub(crate) fn add(root: &Path, version: Option<&str>) {
    let added = find(root, version).and_then(|image| {
        let Some(image) = image else { return Ok(()) };
        let result = attach(root, &image);
        in_memory::release(&image);
        result
    });
    if let Err(error) = added {
        detach(root);
        kmsg::write(
            Level::Error,
            "stage0",
            &format!("drivers.erofs is not used, the boot goes on without it: {error:#}"),
        );
    }
}

fn find(root: &Path, version: Option<&str>) -> Result<Option<PathBuf>> {
    let [image, _] = FILES;
    if let Some(image) = in_memory::find(image)? {
        return Ok(Some(image));
    }
    let medium = BootPartition::at(&below(root, booted::MEDIUM));
    let on_medium = version.map(|version| medium.folder(version).join(image));
    Ok(on_medium.filter(|image| image.exists()))
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn attach(root: &Path, image: &Path) -> Result<()> {
    let [mount, modules] = [MOUNT, MODULES].map(|path| below(root, path));
    mounts::mount(&Mount {
        source: &image.to_string_lossy(),
        target: &mount.to_string_lossy(),
        kind: "erofs",
        flags: MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })?;
    let read =
        |path: PathBuf| fs::read(&path).with_context(|| format!("reading {}", path.display()));
    ensure!(
        read(mount.join("id"))? == read(below(root, ID))?,
        "it does not belong to this system image: install both from one release"
    );
    let both = Index::open(&mount.join("modules"))?;
    ensure!(both.covers(&Index::open(&modules)?), "its index of modules is damaged");
    let data = format!("lowerdir={}/modules:{}", mount.display(), modules.display());
    mounts::mount(&Mount {
        source: "drivers",
        target: &modules.to_string_lossy(),
        kind: "overlay",
        flags: MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID,
        data: &data,
    })?;
    mounts::bind(&mount.join("firmware"), &below(root, FIRMWARE))
}

/// Removes what could be mounted.
fn detach(root: &Path) {
    for path in [FIRMWARE, MODULES, MOUNT].map(|path| below(root, path)) {
        if mounts::is_mount_point(&path) {
            let _ = mounts::unmount(&path, true);
        }
    }
}
