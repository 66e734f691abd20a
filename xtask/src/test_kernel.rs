//! The test kernel: Debian's source, built as User-Mode Linux with the fragment and the patches of
//! `tests/kernel`.

use crate::kernel_build::{BuiltKernel, Program, Recipe, Tools};
use crate::packages::{self, Package};
use crate::setup::{self, Need, need};
use anyhow::{Context, Result};

/// From Debian's backports: older kernels run the processes of User-Mode Linux by ptrace, which is
/// slower.
const SOURCE: &str = "linux-source-7.3";
const NEEDS: [Need; 5] = [
    need("flex", "building the test kernel", "/usr/bin/flex"),
    need("bison", "building the test kernel", "/usr/bin/bison"),
    need("bc", "building the test kernel", "/usr/bin/bc"),
    need("patch", "building the test kernel", "/usr/bin/patch"),
    need("libc6-dev", "building the test kernel", "/usr/include/stdlib.h"),
];

/// Whether there is one.
#[derive(Debug)]
pub(crate) enum Availability {
    Kernel(BuiltKernel),
    /// This machine cannot fetch what the build needs. Unlike an error, that is not a bug of ours.
    Unavailable(anyhow::Error),
}

/// The kernel, built if it is not there.
pub(crate) fn prepare() -> Result<Availability> {
    let recipe = match source() {
        Ok(source) => recipe(source),
        Err(error) => return Ok(Availability::Unavailable(error)),
    };
    if !recipe.is_built()?
        && let Err(error) = setup::install_missing(&NEEDS)
    {
        return Ok(Availability::Unavailable(error));
    }
    recipe.prepare().map(Availability::Kernel)
}

fn source() -> Result<Package> {
    let packages = packages::fetch(&[SOURCE.to_owned()].into(), None, false)?;
    let source = packages.into_iter().find(|package| package.name == SOURCE);
    source.with_context(|| format!("apt knows no {SOURCE}"))
}

fn recipe(source: Package) -> Recipe {
    Recipe {
        about: "the test kernel",
        cache: "test-kernel",
        steps: 1,
        source,
        arch: "um",
        files: "tests/kernel",
        target: "linux",
        program: Program { built: "linux", kept: "linux", is_stripped: true },
        tools: Tools::OfHost,
    }
}
