//! The host's /dev in a container that requests it. libcontainer fills every /dev with nodes and
//! links of its own, which must not change the host's. So the container gets a /dev of its own
//! first. The host's is mounted over it while the container waits to be started.

use crate::spec::ContainerSpec;
use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;

/// The bind target that is mounted this way.
pub(super) const TARGET: &str = "/dev";

/// Lays the host's tree over the container's, if its specification has such a bind.
pub(super) fn show(spec: &ContainerSpec, pid: i32) -> Result<()> {
    let Some(bind) = spec.binds.iter().find(|bind| bind.target == TARGET) else { return Ok(()) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, &bind.source, flags)
        .with_context(|| format!("copying the tree of {}", bind.source))?;
    let ours =
        File::open("/proc/self/ns/mnt").context("opening the mount namespace of the host")?;
    let theirs = File::open(format!("/proc/{pid}/ns/mnt"))
        .context("opening the mount namespace of the container")?;
    enter(&theirs)?;
    let attached = move_mount(&tree, "", CWD, TARGET, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .and_then(|()| {
            mount_change(TARGET, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        });
    enter(&ours)?;
    attached.with_context(|| format!("mounting {} in {}", bind.source, spec.name))
}

fn enter(namespace: &File) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .context("entering the mount namespace")
}
