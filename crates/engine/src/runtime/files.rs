//! Files that the configuration adds to a container (`write_files`), put there before its first
//! process starts. No link inside the image can lead out of it.

use super::account;
use crate::archive::root::{make_folders, open_root};
use crate::paths;
use crate::spec::{ContainerSpec, FILES_LABEL, PlacedFile};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fchown, openat, renameat, unlinkat};
use rustix::fs::{Gid, Uid};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes them all. One that fails is reported in the container's log, and the others are written.
pub(super) fn place(id: &str, spec: &ContainerSpec) {
    if !spec.labels.contains_key(FILES_LABEL) {
        return;
    }
    let index = Path::new(paths::FILES).join(&spec.name).join("index.json");
    let files: Vec<PlacedFile> = fs::read(&index)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    for file in files {
        if let Err(error) = place_one(id, spec, &file) {
            println!("write_files: {}: {error:#}", file.path);
        }
    }
}

fn place_one(id: &str, spec: &ContainerSpec, file: &PlacedFile) -> Result<()> {
    let content = fs::read(&file.blob).context("reading its content")?;
    let (base, path) = locate(&paths::rootfs(id), spec, Path::new(&file.path));
    if path.as_os_str().is_empty() {
        // The file itself is bound from the host: keep the one that others see too.
        return fs::write(&base, content).with_context(|| format!("writing {}", base.display()));
    }
    let base = open_root(&base)?;
    let folder = make_folders(&base, path.parent().unwrap_or(Path::new("")))?;
    let name = path.file_name().context("a path without a name")?;
    let mut fresh = std::ffi::OsString::from(".");
    fresh.push(name);
    fresh.push(".new");
    let _ = unlinkat(&folder, &fresh, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target =
        openat(&folder, &fresh, flags, Mode::from_raw_mode(0o600)).context("creating it")?;
    let mut writer = fs::File::from(target.try_clone()?);
    writer.write_all(&content).context("writing it")?;
    if !file.owner.is_empty() {
        let owner = account::find(id, &file.owner, &[])?;
        fchown(&target, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    fchmod(&target, Mode::from_raw_mode(file.mode))?;
    renameat(&folder, &fresh, &folder, name).context("renaming it to its final name")
}

/// The folder of the host and the path below it that the container sees at `path`.
fn locate(rootfs: &Path, spec: &ContainerSpec, path: &Path) -> (PathBuf, PathBuf) {
    let covering = spec
        .binds
        .iter()
        .filter_map(|bind| Some((bind, path.strip_prefix(&bind.target).ok()?)))
        .min_by_key(|(_, rest)| rest.components().count());
    match covering {
        Some((bind, rest)) => (PathBuf::from(&bind.source), rest.to_path_buf()),
        None => (rootfs.to_path_buf(), path.strip_prefix("/").unwrap_or(path).to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Bind;

    #[test]
    fn a_path_below_a_bind_is_the_hosts() {
        let bind = |source: &str, target: &str| Bind {
            source: source.to_owned(),
            target: target.to_owned(),
            ..Bind::default()
        };
        let spec = ContainerSpec {
            binds: vec![
                bind("/h", "/var"),
                bind("/log", "/var/log"),
                bind("/etc/hosts", "/etc/hosts"),
            ],
            ..ContainerSpec::default()
        };
        for (path, base, rest) in [
            ("/var/log/x", "/log", "x"),
            ("/var/lib/y", "/h", "lib/y"),
            ("/etc/hosts", "/etc/hosts", ""),
            ("/etc/ntp.conf", "/root-of-it", "etc/ntp.conf"),
        ] {
            let found = locate(Path::new("/root-of-it"), &spec, Path::new(path));
            assert_eq!(found, (PathBuf::from(base), PathBuf::from(rest)), "{path}");
        }
    }
}
