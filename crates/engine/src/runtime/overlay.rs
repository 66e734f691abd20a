//! The root file system of a container: overlayfs over the layers of its image. It stays mounted
//! over restarts.

use crate::archive::pack::{Packed, pack};
use crate::archive::root::{make_folders, open_in, open_root};
use crate::archive::unpack::{Whiteouts, unpack};
use crate::durable;
use crate::id::new_id;
use crate::image::metadata::Image;
use crate::paths;
use crate::spec::{Bind, ContainerSpec};
use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Mounts the root file system unless it is mounted already. With `keep`, what is written there
/// outlives the container.
pub fn mount(id: &str, keep: &str, image: &Image) -> Result<()> {
    let base = paths::overlay(id);
    let merged = paths::rootfs(id);
    if is_mounted(&merged) {
        return Ok(());
    }
    if !keep.is_empty() {
        link_persistent(&base, keep, image)
            .with_context(|| format!("preparing the persistent file system {keep}"))?;
    }
    for name in ["diff", "work", "merged"] {
        fs::create_dir_all(base.join(name))
            .with_context(|| format!("making {}", base.join(name).display()))?;
    }
    fs::set_permissions(base.join("diff"), fs::Permissions::from_mode(0o755))?;
    // The newer interface takes one layer at a time: the older one has room for about forty.
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("opening overlayfs")?;
    let folders = image.lower.iter().map(|folder| ("lowerdir+", folder.clone()));
    for (key, folder) in
        folders.chain([("upperdir", base.join("diff")), ("workdir", base.join("work"))])
    {
        fsconfig_set_string(&context, key, &folder)
            .with_context(|| format!("layer {} of image {}", folder.display(), image.id))?;
    }
    let names =
        || format!("mounting the root of image {}", image.references.first().unwrap_or(&image.id));
    fsconfig_create(&context).with_context(names)?;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .with_context(names)?;
    move_mount(&root, "", CWD, &merged, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(names)?;
    // Mounts that the container makes in its root stay its own: none of them may propagate to the
    // host's copy.
    mount_change(&merged, MountPropagationFlags::PRIVATE)
        .context("making the container's mounts private")
}

/// Makes the container's folder a link to its persistent file system. File systems of the same
/// service that are over another image, or have another name, are removed.
fn link_persistent(base: &Path, keep: &str, image: &Image) -> Result<()> {
    let persistent = paths::persistent(keep);
    let service = |name: &str| name.rsplit_once('-').map(|(service, _)| service.to_owned());
    for item in fs::read_dir(paths::persistent("")).into_iter().flatten().flatten() {
        let name = item.file_name().to_string_lossy().into_owned();
        let is_of_image =
            || fs::read_to_string(persistent.join("image")).is_ok_and(|id| id == image.id);
        if service(&name) == service(keep) && (name != keep || !is_of_image()) {
            fs::remove_dir_all(item.path())?;
        }
    }
    fs::create_dir_all(&persistent)?;
    durable::write(&persistent.join("image"), image.id.as_bytes())?;
    fs::create_dir_all(paths::overlay(""))?;
    match symlink(&persistent, base) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn is_mounted(path: &Path) -> bool {
    let of = |path: &Path| rustix::fs::stat(path).map(|data| data.st_dev);
    // An overlay is a file system of its own.
    path.parent().is_some_and(
        |parent| matches!((of(path), of(parent)), (Ok(own), Ok(outer)) if own != outer),
    )
}

/// Leaves out the optional binds that could not be mounted. A bind that an owner adds to a service
/// of the system must not keep it from starting.
pub(super) fn leave_out_unusable(id: &str, spec: &ContainerSpec) -> Result<ContainerSpec> {
    let mut spec = spec.clone();
    let (mut optional, wanted): (Vec<Bind>, Vec<Bind>) =
        std::mem::take(&mut spec.binds).into_iter().partition(|bind| bind.optional);
    spec.binds = wanted;
    if optional.is_empty() {
        return Ok(spec);
    }
    let root = open_root(&paths::rootfs(id))?;
    // As they are mounted: an outer one before what lies within it.
    optional.sort_by_key(|bind| bind.target.matches('/').count());
    for bind in optional {
        match prepare_target(&root, &spec.binds, &bind) {
            Ok(()) => spec.binds.push(bind),
            Err(error) => tracing::error!(
                "{}: starting without the volume {}:{}: {error:#}",
                spec.name,
                bind.source,
                bind.target
            ),
        }
    }
    Ok(spec)
}

/// Has the source there, and at the target, in the image or on the host, something of its kind.
fn prepare_target(root: &OwnedFd, binds: &[Bind], bind: &Bind) -> Result<()> {
    let source = Path::new(&bind.source);
    if !source.exists() {
        fs::create_dir_all(source).context("creating the source")?;
    }
    let is_folder = source.is_dir();
    let outer = binds
        .iter()
        .filter(|outer| Path::new(&bind.target).starts_with(&outer.target))
        .max_by_key(|outer| outer.target.len());
    let (base, below, read_only) = match outer {
        None => (root.try_clone()?, Path::new(bind.target.trim_start_matches('/')), false),
        Some(outer) => {
            let below = Path::new(&bind.target).strip_prefix(&outer.target)?;
            (open_root(Path::new(&outer.source))?, below, outer.read_only)
        }
    };
    match open_in(&base, below, OFlags::PATH) {
        Ok(found) if FileType::from_raw_mode(fstat(&found)?.st_mode).is_dir() == is_folder => {
            Ok(())
        }
        Ok(_) => bail!("only one of source and target is a folder"),
        Err(Errno::NOENT) if read_only => bail!("the target is missing in a read-only mount"),
        Err(Errno::NOENT) => make_target(&base, below, is_folder).context("creating the target"),
        Err(error) => Err(error).context("looking for the target"),
    }
}

fn make_target(base: &OwnedFd, below: &Path, is_folder: bool) -> Result<()> {
    if is_folder {
        return make_folders(base, below).map(drop);
    }
    let folder = make_folders(base, below.parent().unwrap_or(Path::new("")))?;
    let name = below.file_name().context("a target without a name")?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map(drop)?)
}

/// Makes the sources of binds that are missing on the host, as Docker does, and fills new volumes.
pub(super) fn prepare_binds(id: &str, spec: &ContainerSpec) -> Result<()> {
    for bind in &spec.binds {
        if !Path::new(&bind.source).exists() {
            if bind.must_exist {
                bail!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {}",
                    bind.source
                );
            }
            fs::create_dir_all(&bind.source)
                .with_context(|| format!("creating {} for {}", bind.source, spec.name))?;
        }
        if bind.volume.is_some() {
            fill(id, bind).with_context(|| format!("filling the volume at {}", bind.target))?;
        }
    }
    Ok(())
}

/// Fills a volume of a container that was not started yet: what comes into it before is added to
/// what the image has there.
pub fn fill_volume(id: &str, bind: &Bind) -> Result<()> {
    match bind.volume {
        Some(_) => fill(id, bind).with_context(|| format!("filling the volume at {}", bind.target)),
        None => Ok(()),
    }
}

/// A volume that is empty begins with what the image has at its place.
fn fill(id: &str, bind: &Bind) -> Result<()> {
    let source = Path::new(&bind.source);
    if fs::read_dir(source)?.next().is_some() {
        return Ok(());
    }
    let root = open_root(&paths::rootfs(id))?;
    let inside = Path::new(bind.target.trim_start_matches('/'));
    let Ok(folder) = open_in(&root, inside, OFlags::DIRECTORY | OFlags::RDONLY) else {
        return Ok(());
    };
    if rustix::fs::Dir::read_from(&folder)?.count() <= 2 {
        return Ok(());
    }
    let spool = source.with_file_name(format!("copy-{}.tar", new_id()));
    let copied = File::create(&spool).map_err(anyhow::Error::from).and_then(|mut file| {
        pack(&root, inside, Packed::Inside, &mut file)?;
        unpack(File::open(&spool)?, &open_root(source)?, Whiteouts::Keep)
    });
    let _ = fs::remove_file(spool);
    copied.map(drop)
}

/// Makes the folder in which a container's process begins.
pub(super) fn prepare_folder(id: &str, path: &str) -> Result<()> {
    let root = open_root(&paths::rootfs(id))?;
    make_folders(&root, Path::new(path.trim_start_matches('/'))).map(drop)
}
