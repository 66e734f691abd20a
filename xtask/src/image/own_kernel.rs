//! A kernel of our own for the small ISO: Debian's source with the fragment of `images/kernel`,
//! compiled by Debian's compiler (docs/decisions/0023-the-small-iso-may-have-its-own-kernel.md).
//!
//! It has the version of Debian's kernel in `packages.lock`, of which the list `kernel` has the
//! source and the tools.

use super::packages_of::LIST as OF_IMAGE;
use crate::kernel_build::{BuiltKernel, Program, Recipe, Tools};
use crate::packages::{self, Package, Request, Versions};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use std::collections::BTreeSet;

/// The name of the list in `packages.lock`.
const LIST: &str = "kernel";
/// What compiles, besides what these depend on. No package is essential in a root of our own.
const TOOLS: [&str; 23] = [
    "bash",
    "bc",
    "binutils",
    "bison",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "flex",
    "gcc",
    "grep",
    "gzip",
    "kmod",
    "libc6-dev",
    "libelf-dev",
    "libssl-dev",
    "make",
    "mawk",
    "perl-base",
    "sed",
    "tar",
    "xz-utils",
    "zstd",
];

/// Which kernel an image has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelChoice {
    /// Debian's, as it is signed
    #[default]
    Debian,
    /// One that is built here: some megabytes smaller, without drivers.erofs
    Corral,
}

/// The kernel of the small ISO.
#[derive(Debug)]
pub(crate) struct OwnKernel {
    pub(crate) built: BuiltKernel,
    /// Debian's package with the source.
    pub(crate) source: Package,
}

/// The kernel for an image of these packages, built if it is not there.
pub(crate) fn prepare_kernel(of_image: &[Package], mirror: Option<&str>) -> Result<OwnKernel> {
    let debian = package(of_image)?;
    let name = source_of(&debian.name)?;
    let (sources, tools): (Vec<Package>, Vec<Package>) =
        fetch(debian, &name, mirror)?.into_iter().partition(|package| package.name == name);
    let source = sources.into_iter().next().with_context(|| format!("apt knows no {name}"))?;
    ensure!(
        source.version == debian.version,
        "Debian's kernel has version {}, and the mirror has {name} {}: `cargo xtask packages \
         --refresh` takes the newest of both, and --mirror URL names a mirror that keeps old \
         versions",
        debian.version,
        source.version
    );
    let built = recipe(source.clone(), tools).prepare()?;
    Ok(OwnKernel { built, source })
}

/// Fetches the list. Returns how many packages it has.
pub(crate) fn fetch_kernel_list(
    of_image: &[Package],
    mirror: Option<&str>,
    refresh: bool,
) -> Result<usize> {
    let debian = package(of_image)?;
    let name = source_of(&debian.name)?;
    let wanted = &wanted(&name);
    match refresh {
        true => Ok(request(wanted, mirror, Versions::Newest).fetch()?.len()),
        false => Ok(fetch(debian, &name, mirror)?.len()),
    }
}

/// The source, the tools and what these need, of one version with Debian's kernel.
fn fetch(debian: &Package, name: &str, mirror: Option<&str>) -> Result<Vec<Package>> {
    let wanted = &wanted(name);
    let is_of_debians =
        |package: &Package| package.name != name || package.version == debian.version;
    // An image of newer packages than are listed: the list stays as it is.
    if !packages::is_in_list(OF_IMAGE, debian)? {
        let before = packages::fetch(wanted, mirror, false)?;
        return match before.iter().all(is_of_debians) {
            true => Ok(before),
            false => packages::fetch(wanted, mirror, true),
        };
    }
    let listed = request(wanted, mirror, Versions::Listed).listed()?;
    let is_other = listed.is_some_and(|list| !list.iter().all(is_of_debians));
    request(wanted, mirror, Versions::listed_unless(is_other)).fetch()
}

/// Debian's kernel among the packages of an image.
fn package(of_image: &[Package]) -> Result<&Package> {
    let is_kernel = |package: &&Package| source_of(&package.name).is_ok();
    of_image.iter().find(is_kernel).context("no kernel is among the packages of the image")
}

/// `linux-image-6.12.118+deb13-amd64` → `linux-source-6.12`
fn source_of(package: &str) -> Result<String> {
    let numbers = || {
        let mut numbers = package.strip_prefix("linux-image-")?.splitn(3, '.');
        let series = format!("{}.{}", numbers.next()?, numbers.next()?);
        numbers.next().map(|_| series)
    };
    let series = numbers().with_context(|| format!("{package}: no name of a kernel"))?;
    Ok(format!("linux-source-{series}"))
}

fn wanted(source: &str) -> BTreeSet<String> {
    TOOLS.into_iter().chain([source]).map(str::to_owned).collect()
}

fn request<'a>(
    wanted: &'a BTreeSet<String>,
    mirror: Option<&'a str>,
    versions: Versions,
) -> Request<'a> {
    Request { name: LIST, suite: packages::SUITE, wanted, mirror, versions }
}

fn recipe(source: Package, tools: Vec<Package>) -> Recipe {
    Recipe {
        about: "the kernel of the small ISO",
        cache: "kernel",
        steps: 1,
        source,
        arch: "x86",
        files: "images/kernel",
        target: "bzImage",
        program: Program { built: "arch/x86/boot/bzImage", kept: "vmlinuz", is_stripped: false },
        tools: Tools::Of(tools),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_that_of_debians_kernel() {
        let name = source_of("linux-image-6.12.118+deb13-amd64").unwrap();
        assert_eq!(name, "linux-source-6.12");
        for other in ["linux-image-amd64", "linux-base", "linux-headers-6.12.118+deb13-amd64"] {
            assert!(source_of(other).is_err(), "{other}");
        }
    }
}
