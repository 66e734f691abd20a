//! Mounting: the kernel's own file systems, tmpfs, binds and disks.

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount as sys_mount, mount_bind, mount_change,
    mount_move, unmount as sys_unmount,
};
use std::ffi::CString;
use std::fs;
use std::path::Path;

/// What to mount: source, place, type, flags and the file system's own options.
#[derive(Debug, Clone, Copy)]
pub struct Mount<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub kind: &'a str,
    pub flags: MountFlags,
    pub data: &'a str,
}

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// What stage 0 needs, in this order. It moves these to the new root.
pub const EARLY: [Mount<'static>; 3] = [
    Mount {
        source: "devtmpfs",
        target: "/dev",
        kind: "devtmpfs",
        flags: MountFlags::NOSUID,
        data: "mode=0755",
    },
    Mount { source: "proc", target: "/proc", kind: "proc", flags: SAFE, data: "" },
    Mount { source: "sysfs", target: "/sys", kind: "sysfs", flags: SAFE, data: "" },
];

/// What PID 1 adds on the system image, in this order.
pub const SYSTEM: [Mount<'static>; 9] = [
    Mount {
        source: "devpts",
        target: "/dev/pts",
        kind: "devpts",
        flags: DEVICES,
        data: "mode=0620,gid=5,ptmxmode=0666",
    },
    Mount {
        source: "shm",
        target: "/dev/shm",
        kind: "tmpfs",
        flags: SAFE,
        data: "mode=1777,size=64m",
    },
    Mount { source: "mqueue", target: "/dev/mqueue", kind: "mqueue", flags: SAFE, data: "" },
    Mount {
        source: "cgroup2",
        target: "/sys/fs/cgroup",
        kind: "cgroup2",
        flags: SAFE,
        data: "nsdelegate",
    },
    Mount {
        source: "tmp",
        target: "/tmp",
        kind: "tmpfs",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        data: "mode=1777",
    },
    Mount {
        source: "etc",
        target: "/etc",
        kind: "tmpfs",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        data: "mode=0755,size=16m",
    },
    Mount {
        source: "var",
        target: "/var",
        kind: "tmpfs",
        flags: MountFlags::NODEV,
        data: "mode=0755",
    },
    Mount {
        source: "mnt",
        target: "/mnt",
        kind: "tmpfs",
        flags: MountFlags::NODEV,
        data: "mode=0755,size=1m",
    },
    Mount {
        source: "media",
        target: "/media",
        kind: "tmpfs",
        flags: MountFlags::NODEV,
        data: "mode=0755,size=1m",
    },
];

/// Mounts, after making the mount point where that is possible.
pub fn mount(mount: &Mount<'_>) -> Result<()> {
    let _ = fs::create_dir_all(mount.target);
    let data = CString::new(mount.data).context("mount options with a NUL byte")?;
    sys_mount(mount.source, mount.target, mount.kind, mount.flags, data.as_c_str())
        .with_context(|| format!("mounting {} ({}) on {}", mount.source, mount.kind, mount.target))
}

/// Shows `source` at `target` as well.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    let _ = fs::create_dir_all(target);
    mount_bind(source, target)
        .with_context(|| format!("binding {} to {}", source.display(), target.display()))
}

/// Moves a mount.
pub fn move_to(source: &Path, target: &Path) -> Result<()> {
    mount_move(source, target)
        .with_context(|| format!("moving {} to {}", source.display(), target.display()))
}

/// Makes what is mounted below `target` be seen in all copies of it.
pub fn share(target: &Path) -> Result<()> {
    mount_change(target, MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .with_context(|| format!("sharing {}", target.display()))
}

/// Takes a mount away; `lazily` also while it is in use.
pub fn unmount(target: &Path, lazily: bool) -> Result<()> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    sys_unmount(target, flags).with_context(|| format!("unmounting {}", target.display()))
}

/// Makes a mounted file system read-only, which writes out all it holds; or lets it be written to.
pub fn remount(target: &Path, read_only: bool) -> Result<()> {
    let (flags, how) =
        if read_only { (MountFlags::RDONLY, "only") } else { (MountFlags::empty(), "and write") };
    rustix::mount::mount_remount(target, flags, c"")
        .with_context(|| format!("remounting {} to read {how}", target.display()))
}

/// Whether something is mounted exactly there.
pub fn is_mount_point(target: &Path) -> bool {
    let Some(parent) = target.parent() else { return true };
    let device = |path: &Path| {
        rustix::fs::statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map(|s| s.st_dev)
    };
    matches!((device(target), device(parent)), (Ok(here), Ok(above)) if here != above)
}
