//! `kernel-extras` of the catalogue: all drivers and firmware for the version that runs. It is
//! fetched from where upgrades come from, or taken from a file or a mounted medium.

use super::list;
use crate::release::drivers::{Choice, When};
use crate::release::source::Source;
use crate::release::{Release, trust};
use anyhow::{Context, Result, ensure};
use corral_machine::boot_partition::booted;
use corral_machine::os_release::running_version;
use corral_machine::{drivers, mounts};
use corral_resolve::effective::load_config;
use std::path::Path;

/// Adds all drivers to the version that runs. `from` is a file, a folder or an image.
pub fn add(from: Option<&str>) -> Result<()> {
    let running = running_version();
    if from.is_none() && are_here(&running) {
        println!("version {running} has all drivers");
        return Ok(());
    }
    ensure!(
        booted::partition().is_some(),
        "this machine was not started from an installed disk; start the full ISO, or load \
         drivers.erofs by iPXE, and it has all drivers"
    );
    let choice = Choice::load(When::Always, true);
    let source = open(from, &running, &choice)?;
    let mut release = source.release()?;
    trust(&release, false)?;
    check_version(&release, &running)?;
    choice.apply(&mut release)?;
    super::add_drivers(&source, &release, true)
}

/// The image of the version that runs, in the owner's registry.
pub fn image_of_running() -> Result<String> {
    image_of(&running_version())
}

/// They are in use, or will be after a restart.
fn are_here(running: &str) -> bool {
    mounts::is_mount_point(Path::new(drivers::MOUNT))
        || booted::partition().is_some_and(|partition| partition.has_drivers(running))
}

fn check_version(release: &Release, running: &str) -> Result<()> {
    ensure!(
        release.version == running,
        "the release has version {} and {running} runs; drivers belong to one version. \
         `ros os upgrade --drivers always` takes the release with its own",
        release.version
    );
    Ok(())
}

fn open(from: Option<&str>, running: &str, choice: &Choice) -> Result<Source> {
    let image = match from {
        Some(image) => image.to_owned(),
        None => image_of(running)?,
    };
    list::open(&image, false, choice, |release| check_version(release, running))
}

/// `rancher.upgrade.image` with the tag of this version, or what the owner's list has.
fn image_of(running: &str) -> Result<String> {
    let configured = load_config()?.rancher.upgrade.image;
    if !configured.is_empty() && list::as_file(&configured).is_none() {
        return Ok(format!("{}:{running}", repository(&configured)));
    }
    let listed = list::image_of(running).with_context(|| nowhere(running))?;
    listed.with_context(|| nowhere(running))
}

fn nowhere(running: &str) -> String {
    format!(
        "no registry with version {running} is known: `rancher.upgrade.image` or the list of \
         `rancher.upgrade.url` names one, and `--from FILE` needs none"
    )
}

/// An image without its tag and digest: `host:5000/corral:1.2` → `host:5000/corral`.
pub fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_of_an_image_has_no_tag() {
        for (image, expected) in [
            ("host/corral:1.2", "host/corral"),
            ("host:5000/corral:1.2", "host:5000/corral"),
            ("host:5000/corral", "host:5000/corral"),
            ("host:5000/team/corral@sha256:00", "host:5000/team/corral"),
            ("corral:1.2@sha256:00", "corral"),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }
}
