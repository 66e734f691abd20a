//! `cargo xtask kernel`: builds the kernel of the small ISO alone, and weighs it.

use crate::lock::Building;
use crate::modules::{self, Kernel};
use crate::packages::Versions;
use crate::{image, progress, recipe, setup};
use anyhow::Result;
use clap::Args;
use std::fs;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Debian mirror to use instead of the host's own
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Builds it, unless it is there, and prints what it weighs.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    let _building = Building::begin()?;
    let mirror = options.mirror.as_deref();
    let packages = image::fetch_packages(mirror, Versions::Listed)?;
    let built = image::prepare_kernel(&packages, mirror)?.built;
    let kernel = Kernel::built(&built)?;
    let lost = modules::lost(&kernel, &Kernel::open(&packages)?, &recipe::load_modules()?)?;
    let lost = lost.into_iter().collect::<Vec<_>>().join(", ");
    let bytes = fs::metadata(&built.image)?.len();
    let (count, of_modules) = kernel.weigh()?;
    progress::say(&format!(
        "{:>9.2} MB  {}\n{:>9.2} MB  {count} modules, not packed; it lacks {lost}",
        bytes as f64 / 1e6,
        built.image.display(),
        of_modules as f64 / 1e6,
    ))
}
