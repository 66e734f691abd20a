//! `cargo xtask packages`: fetches what `packages.lock` lists, or the newest packages into it.

use super::Versions;
use crate::lock::Building;
use crate::{engines, image, kernel_headers, lean_engine, progress, recipe, setup};
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Take the newest packages that the mirror has, and show what changes
    #[arg(long)]
    refresh: bool,
    /// Also the compiler and the sources of the Docker of a release: hundreds of megabytes
    #[arg(long)]
    docker: bool,
    /// Also the source of the kernel and its compiler: hundreds of megabytes
    #[arg(long)]
    kernel: bool,
    /// Debian mirror to use instead of the host's own; packages that are in no current list any
    /// more are on mirrors that keep old versions
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Fetches all lists.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    let _building = Building::begin()?;
    let (mirror, refresh) = (options.mirror.as_deref(), options.refresh);
    let versions = Versions::listed_unless(refresh);
    let of_image = image::fetch_packages(mirror, versions)?;
    let mut count = of_image.len();
    count += kernel_headers::fetch_list(&of_image, mirror, refresh)?;
    count += image::fetch_firmware(&recipe::load_modules()?, mirror, versions)?.len();
    count += engines::fetch_all(mirror, versions)?;
    if options.kernel {
        count += image::fetch_kernel_list(&of_image, mirror, refresh)?;
    }
    if options.docker {
        count += lean_engine::fetch(mirror, refresh)?;
    }
    progress::say(&format!("{count} packages are as {} lists them", super::locked::NAME))
}
