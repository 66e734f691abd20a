//! The system image: one EROFS file, written by trixie's mkfs.erofs, because the host's is too old.
//! That program runs from its unpacked package with its own C library.

use crate::packages::{self, Package};
use crate::tree::Tree;
use crate::{paths, sh};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

/// Volume label: how stage 0 knows the image on a bare block device.
pub(crate) const SYSTEM: &str = "CORRAL_SYSTEM";
/// That of the second tier of drivers.
pub(crate) const DRIVERS: &str = "CORRAL_DRIVERS";

/// The package with the program; its libraries are among what apt fetches with it.
pub(crate) const PACKAGE: &str = "erofs-utils";

/// How densely to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Density {
    /// Uncompressed: for machines that read the file from this machine's memory.
    None,
    /// Fast to write and fast to read: development and tests.
    Light,
    /// Minutes to write, the smallest file: what is released.
    Dense,
}

/// How an image is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing<'a> {
    pub(crate) label: &'a str,
    pub(crate) density: Density,
    /// The time of all files.
    pub(crate) epoch: u64,
}

/// Writes `tree` to `output`.
pub(crate) fn write(
    tree: &Tree,
    output: &Path,
    packing: Packing<'_>,
    packages: &[Package],
) -> Result<()> {
    let Packing { label, density, epoch } = packing;
    let _ = fs::remove_file(output);
    let mut command = mkfs(packages)?;
    command.arg("-L").arg(label);
    let number = if label == SYSTEM { 1 } else { 2 };
    command.args(["-T", &epoch.to_string(), "--all-time"]);
    command.arg("-U").arg(format!("c0a1c0a1-0000-4000-8000-{number:012}"));
    let source = match density {
        Density::None | Density::Light => {
            let archive = paths::cache("system.tar");
            tree.write_tar(BufWriter::new(File::create(&archive)?), epoch)?;
            command.arg("--tar=f");
            if density == Density::Light {
                command.args(["-zlz4", "-C65536"]);
            }
            archive
        }
        // From a folder it packs 5 % denser than from a tar stream. In both cases root owns every
        // file.
        Density::Dense => {
            let folder = paths::cache("system");
            let _ = fs::remove_dir_all(&folder);
            tree.write_folder(&folder)?;
            command.args(["--all-root", "-zlzma,level=109,dictsize=1048576", "-C1048576"]);
            command.arg("-Efragments,dedupe,ztailpacking");
            folder
        }
    };
    sh::output(command.arg(output).arg(&source))
        .with_context(|| format!("writing {}", output.display()))?;
    if source.is_dir() {
        fs::remove_dir_all(&source)?
    } else {
        fs::remove_file(&source)?
    }
    Ok(())
}

/// Writes a folder as it is, lightly packed, with a volume label.
pub(crate) fn write_folder(folder: &Path, label: &str, output: &Path) -> Result<()> {
    let packages = packages::fetch(&[PACKAGE.to_owned(), "libc6".to_owned()].into(), None, false)?;
    let mut command = mkfs(&packages)?;
    sh::output(command.args(["-L", label, "--all-root", "-zlz4"]).arg(output).arg(folder))
        .with_context(|| format!("writing {}", output.display()))
        .map(drop)
}

/// Unpacks an image below `folder`, with its modes; also with its owners if this process is
/// privileged.
pub(crate) fn extract(image: &Path, folder: &Path, packages: &[Package]) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let mut command = program("usr/bin/fsck.erofs", packages)?;
    command
        .arg(format!("--extract={}", folder.display()))
        .args(["--overwrite", "--preserve-perms"]);
    sh::output(command.arg(image))
        .with_context(|| format!("unpacking {}", image.display()))
        .map(drop)
}

fn mkfs(packages: &[Package]) -> Result<Command> {
    program("usr/bin/mkfs.erofs", packages)
}

/// A program of a package, such as erofs-utils, started by its own dynamic linker, so that the
/// host's C library does not matter.
pub(crate) fn program(path: &str, packages: &[Package]) -> Result<Command> {
    let libraries: Vec<String> = packages
        .iter()
        .map(|package| package.files().join("usr/lib/x86_64-linux-gnu"))
        .filter(|folder| folder.exists())
        .map(|folder| folder.display().to_string())
        .collect();
    let mut command =
        Command::new(packages::find(packages, "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")?);
    command.arg("--library-path").arg(libraries.join(":")).arg(packages::find(packages, path)?);
    Ok(command)
}
