//! The environment of the owner's commands, while they run. The first folder of their `PATH` has a
//! `docker` that lets Docker start (`docker_when_ready`).

use super::user_docker::CONSOLE_DONE;
use anyhow::{Context, Result};
use corral_machine::program;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The folder with the link `docker`.
const FOLDER: &str = "/run/corral/owners-commands";
pub(super) const DOCKER: &str = "docker";
/// The `PATH` for the owner's commands. The link is made if it is not there.
pub(super) fn path() -> Result<OsString> {
    fs::create_dir_all(FOLDER).with_context(|| format!("making {FOLDER}"))?;
    match symlink("/usr/bin/ros", Path::new(FOLDER).join(DOCKER)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("linking {FOLDER}/{DOCKER}"));
        }
        _ => {}
    }
    let others = std::env::var_os("PATH").unwrap_or_default();
    let elsewhere = program::is_elsewhere().then(|| PathBuf::from("/usr/lib/corral/bin"));
    let folders = std::iter::once(FOLDER.into()).chain(std::env::split_paths(&others));
    let folders = folders.chain(elsewhere);
    Ok(std::env::join_paths(folders)?)
}

/// The `PATH` without that folder.
pub(super) fn path_of_others() -> Result<OsString> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&folders).filter(|folder| folder != Path::new(FOLDER));
    Ok(std::env::join_paths(folders)?)
}

/// Is this one of the owner's commands, or was it started by one?
pub(super) fn is_owners_command() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder == Path::new(FOLDER))
}

/// Docker may start now, though the owner's commands are not done.
pub(super) fn let_docker_start() -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).open(CONSOLE_DONE);
    match opened {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("writing {CONSOLE_DONE}"))
        }
        _ => Ok(()),
    }
}
