//! Root file systems as distributions publish them, for the stories of consoles: two releases of
//! Debian by mmdebstrap, from the host's own mirror, and one of busybox and musl. Making one takes
//! a minute, so each is cached by the hash of its inputs.

use crate::packages::{self, Package};
use crate::tree::{Blob, Entry, Tree};
use crate::{paths, progress, setup, sh, sum};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The releases of Debian: the image's own, and the one before it.
const RELEASES: [&str; 2] = [packages::SUITE, "bookworm"];
const VARIANT: &str = "--variant=minbase";
/// With what builds a module of the kernel.
const COMPILER: &str = "--include=gcc-14,libelf1t64,make";
/// All that the smallest image has: no user but root, no `/etc/shadow`, no PAM.
const APPLETS: [&str; 10] =
    ["sh", "cat", "echo", "grep", "id", "ls", "rm", "sleep", "touch", "test"];

/// Makes `target/corral/tools/stock`: an archive for each.
pub(crate) fn prepare() -> Result<()> {
    fs::create_dir_all(folder())?;
    for release in RELEASES {
        link(release, &debian(release, &[])?)?;
    }
    let archive = folder().join("musl.fresh");
    let tree = busybox(&packages::fetch(
        &["busybox-static", "musl"].map(str::to_owned).into(),
        None,
        false,
    )?)?;
    tree.write_tar(fs::File::create(&archive)?, 0)?;
    fs::rename(archive, folder().join("musl.tar")).context("keeping the image of busybox and musl")
}

/// Makes one more: the image's own release of Debian with a compiler.
pub(crate) fn prepare_compiler() -> Result<()> {
    fs::create_dir_all(folder())?;
    link("compiler", &debian(packages::SUITE, &[COMPILER])?)
}

/// Are all of them there?
pub(crate) fn are_there() -> bool {
    let names: BTreeSet<&str> = RELEASES.into_iter().chain(["musl"]).collect();
    names.iter().all(|name| folder().join(format!("{name}.tar")).exists())
}

fn folder() -> PathBuf {
    paths::cache("tools").join("stock")
}

fn link(name: &str, archive: &Path) -> Result<()> {
    let target = folder().join(format!("{name}.tar"));
    let _ = fs::remove_file(&target);
    std::os::unix::fs::symlink(archive, &target)
        .with_context(|| format!("linking {}", target.display()))
}

fn debian(release: &str, more: &[&str]) -> Result<PathBuf> {
    let sources = fs::read_to_string(packages::sources(None)?)?.replace(packages::SUITE, release);
    let key = sum::digest_of_bytes(format!("{release} {VARIANT}{} {sources}", more.concat()));
    let archive = paths::shared_cache("stock").join(format!("{key}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    setup::need_mmdebstrap()?;
    fs::create_dir_all(paths::shared_cache("stock"))?;
    let fresh = archive.with_extension(format!("{}.tar", std::process::id()));
    let list = folder().join(format!("{release}.list"));
    fs::write(&list, sources)?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", VARIANT]).args(more);
    mmdebstrap.arg(release).arg(&fresh).arg(&list);
    progress::step(&format!("making an image of Debian {release}"), || {
        sh::output(&mut mmdebstrap).context("mmdebstrap").map(drop)
    })?;
    fs::rename(&fresh, &archive)?;
    Ok(archive)
}

fn busybox(packages: &[Package]) -> Result<Tree> {
    let mut tree = Tree::default();
    let musl = ["usr/lib/x86_64-linux-musl/libc.so", "lib/x86_64-linux-musl/libc.so"];
    let musl = musl.iter().find_map(|path| packages::find(packages, path).ok());
    let files = [
        ("bin/busybox", packages::find(packages, "usr/bin/busybox")?),
        ("lib/ld-musl-x86_64.so.1", musl.context("the package musl has no libc.so")?),
    ];
    for (path, file) in files {
        tree.insert(path, Entry::file(Blob::Host(file), 0o755));
    }
    for applet in APPLETS {
        tree.insert(&format!("bin/{applet}"), Entry::symlink("busybox"));
    }
    for name in ["dev", "etc", "proc", "root", "sys", "usr"] {
        tree.insert(name, Entry::directory());
    }
    // A real folder, where most images have a link to /run.
    tree.write("var/run/of-image", "");
    tree.insert("tmp", Entry { mode: 0o1777, ..Entry::directory() });
    tree.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    tree.write("etc/group", "root:x:0:\n");
    Ok(tree)
}
