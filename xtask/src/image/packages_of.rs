//! Which packages of Debian an image is made of.

use crate::packages::{self, Package, Request, Versions};
use crate::recipe::{self, ModuleList};
use crate::{erofs, iso};
use anyhow::Result;
use std::collections::BTreeSet;

/// The default seccomp profile of containers is the one that Debian's Podman uses.
pub(crate) const SECCOMP_PACKAGE: &str = "golang-github-containers-common";

/// The list with the packages of an image.
pub(crate) const LIST: &str = "image";

/// All packages that an image is made of.
pub(crate) fn fetch_packages(mirror: Option<&str>, versions: Versions) -> Result<Vec<Package>> {
    let wanted = &package_names()?;
    let request = Request { name: LIST, suite: packages::SUITE, wanted, mirror, versions };
    request.fetch()
}

/// Those with firmware for the second tier of drivers.
pub(crate) fn fetch_firmware(
    modules: &ModuleList,
    mirror: Option<&str>,
    versions: Versions,
) -> Result<Vec<Package>> {
    let wanted = &modules.drivers.firmware.iter().cloned().collect();
    let request = Request { name: "firmware", suite: packages::SUITE, wanted, mirror, versions };
    request.fetch_firmware()
}

/// The packages that an image is made of, without their dependencies.
fn package_names() -> Result<BTreeSet<String>> {
    let recipes = recipe::all()?;
    let mut names: BTreeSet<String> =
        recipes.iter().flat_map(|(_, recipe)| recipe.packages.clone()).collect();
    names.extend(iso::PACKAGES.map(str::to_owned));
    names.insert(erofs::PACKAGE.to_owned());
    names.insert(SECCOMP_PACKAGE.to_owned());
    names.insert(recipe::load_modules()?.kernel);
    Ok(names)
}
