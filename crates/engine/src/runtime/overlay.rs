//! The root file system of a container: overlayfs over the layers of its image. It stays mounted over restarts.

use crate::image::Embedded;
use crate::paths;
use crate::spec::ContainerSpec;
use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount as sys_mount, mount_change};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Mounts the root file system unless it is mounted already.
pub(super) fn mount(id: &str, image: &Embedded) -> Result<()> {
    let base = paths::overlay(id);
    let merged = paths::rootfs(id);
    if is_mounted(&merged) {
        return Ok(());
    }
    for name in ["diff", "work", "merged"] {
        fs::create_dir_all(base.join(name))
            .with_context(|| format!("making {}", base.join(name).display()))?;
    }
    fs::set_permissions(base.join("diff"), fs::Permissions::from_mode(0o755))?;
    let lower: Vec<String> =
        image.lower_folders().iter().map(|folder| folder.display().to_string()).collect();
    let (upper, work) = (base.join("diff"), base.join("work"));
    let data =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    let data = CString::new(data).context("a path with a NUL byte")?;
    sys_mount("overlay", &merged, "overlay", MountFlags::empty(), data.as_c_str())
        .with_context(|| format!("mounting the root of image {}", image.reference))?;
    // What the container mounts in its root is its own business: nothing of it may come back to the host's copy.
    mount_change(&merged, MountPropagationFlags::PRIVATE).context("keeping the container's mounts apart")
}

fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|target| Path::new(target) == path))
}

/// Makes the folders of the host that a container wants to see and that are not there, as Docker does.
pub(super) fn prepare_binds(spec: &ContainerSpec) -> Result<()> {
    for bind in &spec.binds {
        if !Path::new(&bind.source).exists() {
            fs::create_dir_all(&bind.source)
                .with_context(|| format!("making {} for {}", bind.source, spec.name))?;
        }
    }
    Ok(())
}
