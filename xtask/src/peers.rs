//! The engines that Corral's is compared with, from Debian trixie: one root file system with all of
//! them. It is entered by chroot, on this machine and in a guest.

use crate::packages::{self, Package};
use crate::{paths, progress, sh};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Volume label of their root on a disk.
pub(crate) const LABEL: &str = "PEERS";

const PACKAGES: [&str; 12] = [
    "base-files",
    "bash",
    "busybox-static",
    "conmon",
    "containerd",
    "coreutils",
    "crun",
    "docker-cli",
    "docker.io",
    "mount",
    "podman",
    "runc",
];

/// Lets podman work without systemd and without prompts.
const FILES: [(&str, &str); 6] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\ndocker:x:999:\n"),
    ("etc/containers/policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#),
    ("etc/containers/registries.conf", "unqualified-search-registries = []\n"),
    (
        "etc/containers/containers.conf",
        "[containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = []\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"crun\"\n",
    ),
    (
        "etc/containers/storage.conf",
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"/work/podman\"\n\
         runroot = \"/run/podman\"\n",
    ),
];

/// The root, made once for each set of packages.
pub(crate) fn prepare() -> Result<PathBuf> {
    let wanted: BTreeSet<String> = PACKAGES.map(str::to_owned).into();
    let packages = packages::fetch(&wanted, None, false)?;
    let root = paths::cache("peers");
    let stamp = root.join("made-of");
    let hashes: Vec<&str> = packages.iter().map(|package| package.sha256.as_str()).collect();
    if fs::read_to_string(&stamp).is_ok_and(|text| text == hashes.join("\n")) {
        return Ok(root);
    }
    progress::step("putting the peers into one root", || make(&root, &packages))?;
    fs::write(stamp, hashes.join("\n"))?;
    Ok(root)
}

fn make(root: &Path, packages: &[Package]) -> Result<()> {
    let _ = fs::remove_dir_all(root);
    for folder in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    for package in packages {
        // Through the links above; the package's own links of that name are already there.
        let mut copy = Command::new("tar");
        copy.arg("-C").arg(package.files()).args([
            "--exclude=./bin",
            "--exclude=./sbin",
            "--exclude=./lib",
            "--exclude=./lib64",
        ]);
        let archive = paths::cache("peer.tar");
        sh::output(copy.args(["--exclude=./usr/share", "-cf"]).arg(&archive).arg("."))?;
        let mut unpack = Command::new("tar");
        sh::output(
            unpack.arg("-C").arg(root).args(["--keep-directory-symlink", "-xf"]).arg(&archive),
        )
        .with_context(|| format!("unpacking {}", package.name))?;
        fs::remove_file(archive)?;
    }
    for folder in
        ["proc", "sys", "dev", "run", "tmp", "work", "root", "bundle/rootfs/bin", "var/lib"]
    {
        fs::create_dir_all(root.join(folder))?;
    }
    for (path, text) in FILES {
        let file = root.join(path);
        fs::create_dir_all(file.parent().context("a file in a folder")?)?;
        fs::write(file, text)?;
    }
    let busybox = root.join("bundle/rootfs/bin/busybox");
    fs::copy(packages::find(packages, "usr/bin/busybox")?, &busybox)?;
    for name in ["true", "sleep", "sh"] {
        symlink("busybox", busybox.with_file_name(name))?;
    }
    Ok(())
}
