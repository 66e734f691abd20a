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
use crate::{image, paths, progress, setup, signed_release};
use anyhow::{Context, Result, bail, ensure};
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
    let fetched = fetch(&kernel.release, package_of(&kernel, of_image)?, mirror)?;
    let packages: Vec<Package> = fetched.iter().filter(|it| is_taken(it)).cloned().collect();
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

/// Fetches the list of the headers for the kernel of an image. Returns how many packages it has.
pub(crate) fn fetch_list(
    of_image: &[Package],
    mirror: Option<&str>,
    refresh: bool,
) -> Result<usize> {
    let kernel = Kernel::open(of_image)?;
    let package = package_of(&kernel, of_image)?;
    let wanted = &wanted(&kernel.release);
    if refresh {
        request(wanted, mirror, Versions::Newest).fetch()?;
    }
    Ok(fetch(&kernel.release, package, mirror)?.len())
}

/// The headers of a kernel, with what they depend on: a compiler, which is not taken.
fn fetch(release: &str, kernel: &Package, mirror: Option<&str>) -> Result<Vec<Package>> {
    let wanted = &wanted(release);
    let fetching = || format!("fetching the headers of the kernel {release}");
    let fetched = match packages::is_in_list(image::LIST, kernel)? {
        true => {
            let listed = request(wanted, mirror, Versions::Listed).listed()?;
            let versions = versions(kernel, listed.as_deref());
            request(wanted, mirror, versions).fetch().with_context(fetching)?
        }
        // An image of newer packages than are listed: the list stays as it is.
        false => {
            let before = packages::fetch(wanted, mirror, false).with_context(fetching)?;
            match other_version(kernel, &before) {
                Some(_) => packages::fetch(wanted, mirror, true).with_context(fetching)?,
                None => before,
            }
        }
    };
    check_versions(kernel, &fetched)?;
    Ok(fetched)
}

fn wanted(release: &str) -> BTreeSet<String> {
    BTreeSet::from([format!("linux-headers-{release}")])
}

fn request<'a>(
    wanted: &'a BTreeSet<String>,
    mirror: Option<&'a str>,
    versions: Versions,
) -> Request<'a> {
    Request { name: NAME, suite: packages::SUITE, wanted, mirror, versions }
}

/// Those of the list, unless they are of another revision of the kernel. Its name may be the same.
fn versions(kernel: &Package, listed: Option<&[Package]>) -> Versions {
    Versions::listed_unless(listed.is_some_and(|list| other_version(kernel, list).is_some()))
}

/// The package that a kernel is from.
fn package_of<'a>(kernel: &Kernel, of_image: &'a [Package]) -> Result<&'a Package> {
    let found = of_image.iter().find(|package| package.sha256 == kernel.key);
    found.context("the kernel is of no package")
}

fn is_taken(package: &Package) -> bool {
    ["linux-headers-", "linux-kbuild-"].iter().any(|start| package.name.starts_with(start))
}

/// The first package of headers that is of another revision of the kernel.
fn other_version<'a>(kernel: &Package, fetched: &'a [Package]) -> Option<&'a Package> {
    let mut headers = fetched.iter().filter(|package| is_taken(package));
    headers.find(|package| package.version != kernel.version)
}

/// A module that was built with headers of another revision may not load.
fn check_versions(kernel: &Package, fetched: &[Package]) -> Result<()> {
    if let Some(Package { name, version, .. }) = other_version(kernel, fetched) {
        bail!(
            "the kernel has version {}, and the mirror has {name} {version}: \
             `cargo xtask packages --refresh` takes the newest of both, and --mirror URL names a \
             mirror that keeps old versions",
            kernel.version
        );
    }
    let count = fetched.iter().filter(|package| is_taken(package)).count();
    ensure!(count == 3, "there are {count} packages of headers instead of 3");
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
    let built = build(of_image, None)?;
    signed_release::write_for_registry(&built.archive, built.repository)
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

    fn package(name: &str, version: &str) -> Package {
        let (name, version) = (name.to_owned(), version.to_owned());
        Package { name, version, sha256: String::new(), file: String::new() }
    }

    fn headers(version: &str) -> Vec<Package> {
        let names = ["linux-headers-6.12-amd64", "linux-headers-6.12-common", "linux-kbuild-6.12"];
        let own = names.map(|name| package(name, version));
        [own.as_slice(), &[package("gcc-14", "14.2.0-19")]].concat()
    }

    #[test]
    fn headers_of_another_revision_are_fetched_again_and_never_taken() {
        let kernel = package("linux-image-6.12-amd64", "6.12.48-1");
        let (same, other) = (headers("6.12.48-1"), headers("6.12.43-1"));
        for (listed, expected) in [
            (None, Versions::Listed),
            (Some(same.as_slice()), Versions::Listed),
            (Some(other.as_slice()), Versions::Newest),
        ] {
            assert_eq!(versions(&kernel, listed), expected, "{listed:?}");
        }
        check_versions(&kernel, &same).unwrap();
        let error = check_versions(&kernel, &other).unwrap_err().to_string();
        assert!(error.contains("linux-headers-6.12-amd64 6.12.43-1"), "{error}");
        let error = check_versions(&kernel, &same[1..]).unwrap_err().to_string();
        assert!(error.contains("2 packages of headers"), "{error}");
    }

    #[test]
    fn a_tag_has_no_plus() {
        assert_eq!(tag("6.12.118+deb13-amd64"), "6.12.118-deb13-amd64");
    }
}
