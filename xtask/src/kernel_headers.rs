//! `cargo xtask kernel-headers`: the headers of the image's kernel, as an image archive in
//! `target/services`, for the service `kernel-headers` of the catalogue.
//!
//! All is below /usr/src, where Debian's packages have links to /usr/lib as well: so one mount in a
//! container is enough.

use crate::engines::Engine;
use crate::lock::Building;
use crate::modules::Kernel;
use crate::oci_layout::{Image, LOADED_NAME, Layout, REF_NAME};
use crate::packages::{self, Package, Request, Versions};
use crate::tree::{Entry, Kind, Tree, read_folder};
use crate::{image, paths, progress, setup};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const NAME: &str = "kernel-headers";
/// The name of the image is that of the catalogue, in which `KERNEL_TAG` has no `+`.
pub(crate) const REFERENCE: &str = "corral/kernel-headers";
/// The label by which `ros service enable` knows the kernel that they belong to.
const KERNEL_LABEL: &str = "dev.corral.kernel";
/// To be raised with each change of how the archive is written.
const FORMAT: u32 = 1;
const LEVEL: i32 = 12;
/// Where Debian's packages have scripts and programs, and where they are here.
const KBUILD: &str = "usr/lib/linux-kbuild-";
const SOURCES: &str = "usr/src/";
/// Folders that the engine mounts something at.
const FOLDERS: [&str; 8] = ["dev", "etc", "headers", "proc", "run", "sys", "tmp", "usr/bin"];

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask kernel-headers   then on the machine: ros service enable kernel-headers --from FILE")]
pub(crate) struct Options {
    /// Debian mirror to use instead of the host's own
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Builds the archive, and prints its size.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    let _building = Building::begin()?;
    let packages = image::fetch_packages(options.mirror.as_deref(), Versions::Listed)?;
    let made = build(&packages, options.mirror.as_deref())?;
    let megabytes = fs::metadata(&made.archive)?.len() as f64 / 1e6;
    progress::say(&format!("{megabytes:>9.2} MB  {}", made.archive.display()))
}

/// Writes the archive for the kernel among the packages of an image, unless it is there.
pub(crate) fn build(of_image: &[Package], mirror: Option<&str>) -> Result<Engine> {
    let kernel = Kernel::open(of_image)?;
    let fetched = fetch(&kernel.release, mirror)?;
    let packages: Vec<Package> = fetched.iter().filter(|it| is_taken(it)).cloned().collect();
    check_versions(&kernel, of_image, &packages)?;
    let archive = paths::target().join("services").join(format!("{NAME}.tar"));
    let stamp = format!("{FORMAT} {packages:?}");
    let stamp_file = paths::cache("services").join(format!("{NAME}.stamp"));
    if !archive.exists() || !fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        let _ = fs::remove_file(&stamp_file);
        progress::step(&format!("writing {}", archive.display()), || {
            write(&tree(&packages)?, &kernel.release, &archive)
        })?;
        fs::create_dir_all(paths::cache("services"))?;
        fs::write(stamp_file, stamp)?;
    }
    let suite = packages::SUITE.to_owned();
    let repository = "corral-kernel-headers";
    Ok(Engine { name: NAME.to_owned(), repository, archive, suite, packages, fetched })
}

/// The headers of a kernel, with what they depend on: a compiler, which is not taken.
fn fetch(release: &str, mirror: Option<&str>) -> Result<Vec<Package>> {
    let wanted = BTreeSet::from([format!("linux-headers-{release}")]);
    let versions = Versions::Listed;
    let request = Request { name: NAME, suite: packages::SUITE, wanted: &wanted, mirror, versions };
    request.fetch().with_context(|| format!("fetching the headers of the kernel {release}"))
}

fn is_taken(package: &Package) -> bool {
    ["linux-headers-", "linux-kbuild-"].iter().any(|start| package.name.starts_with(start))
}

/// A module that was built with headers of another revision may not load.
fn check_versions(kernel: &Kernel, of_image: &[Package], headers: &[Package]) -> Result<()> {
    let of_kernel = of_image.iter().find(|package| package.sha256 == kernel.key);
    let version = &of_kernel.context("the kernel is of no package")?.version;
    let other = headers.iter().find(|package| &package.version != version);
    let other = other.map(|package| format!("{} {}", package.name, package.version));
    ensure!(
        other.is_none(),
        "the kernel has version {version}, and the mirror has {}: \
         `cargo xtask image --refresh` takes the newest kernel",
        other.unwrap_or_default()
    );
    ensure!(headers.len() == 3, "there are {} packages of headers instead of 3", headers.len());
    Ok(())
}

/// The files below /usr/src, with links that stay there.
fn tree(packages: &[Package]) -> Result<Tree> {
    let mut tree = Tree::default();
    for package in packages {
        for (path, entry) in read_folder(&package.files())? {
            if let Some(path) = moved(&path)
                && !matches!(entry.kind, Kind::Directory)
            {
                tree.insert(&path, with_moved_link(entry));
            }
        }
    }
    ensure!(!tree.entries.is_empty(), "the packages of headers have no files in /usr/src");
    for folder in FOLDERS {
        tree.insert(folder, Entry::directory());
    }
    Ok(tree)
}

/// Where a file of a package is in the image. None if it is left out: its documentation, the link
/// in whose place the folder is, and the kernel's types (`vmlinux`), for which a build would need
/// one more program (`pahole`).
fn moved(path: &str) -> Option<String> {
    if let Some(rest) = path.strip_prefix(KBUILD) {
        return Some(format!("{SOURCES}linux-kbuild-{rest}"));
    }
    let rest = path.strip_prefix(SOURCES)?;
    let is_of_headers = rest.starts_with("linux-headers-");
    (is_of_headers && !rest.ends_with("/vmlinux")).then(|| path.to_owned())
}

/// `../../lib/linux-kbuild-6.12/scripts` → `../linux-kbuild-6.12/scripts`
fn with_moved_link(entry: Entry) -> Entry {
    match &entry.kind {
        Kind::Symlink(target) => match target.strip_prefix("../../lib/") {
            Some(rest) => Entry::symlink(&format!("../{rest}")),
            None => entry,
        },
        _ => entry,
    }
}

fn write(tree: &Tree, release: &str, output: &Path) -> Result<()> {
    let labels = json!({
        KERNEL_LABEL: release,
        "org.opencontainers.image.title": NAME,
        "org.opencontainers.image.description": format!("headers of the kernel {release}"),
    });
    let image = Image {
        layers: &[tree],
        epoch: 0,
        level: LEVEL,
        config: json!({"Labels": labels, "Env": ["PATH=/usr/bin"]}),
        annotations: labels,
    };
    let tag = tag(release);
    let mut layout = Layout::default();
    let loaded = format!("{REFERENCE}:{tag}");
    layout.add_image(&image, json!({REF_NAME: tag, LOADED_NAME: loaded}))?;
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = output.with_extension("new");
    layout.write(&fresh)?;
    fs::rename(&fresh, output).with_context(|| format!("writing {}", output.display()))
}

/// As `KERNEL_TAG` in the compose files of a machine: a tag has no `+`.
fn tag(release: &str) -> String {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    release.chars().map(|letter| if is_allowed(letter) { letter } else { '-' }).collect()
}

/// Builds the archive for stories, from the packages of their image.
pub(crate) fn prepare(of_image: &[Package]) -> Result<()> {
    build(of_image, None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_below_one_folder() {
        for (path, expected) in [
            (
                "usr/src/linux-headers-6.12-amd64/Makefile",
                "usr/src/linux-headers-6.12-amd64/Makefile",
            ),
            ("usr/lib/linux-kbuild-6.12/scripts/mod", "usr/src/linux-kbuild-6.12/scripts/mod"),
            ("usr/src/linux-headers-6.12-amd64/vmlinux", ""),
            ("usr/src/linux-kbuild-6.12", ""),
            ("usr/lib/modules/6.12-amd64/build", ""),
            ("usr/share/doc/linux-kbuild-6.12/copyright", ""),
        ] {
            assert_eq!(moved(path).unwrap_or_default(), expected, "{path}");
        }
    }

    #[test]
    fn links_to_moved_files_lead_there() {
        for (target, expected) in [
            ("../../lib/linux-kbuild-6.12/tools", "../linux-kbuild-6.12/tools"),
            ("../../uapi/linux/input-event-codes.h", "../../uapi/linux/input-event-codes.h"),
        ] {
            let Kind::Symlink(found) = with_moved_link(Entry::symlink(target)).kind else {
                panic!("no link");
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_tag_has_no_plus() {
        assert_eq!(tag("6.12.118+deb13-amd64"), "6.12.118-deb13-amd64");
    }
}
