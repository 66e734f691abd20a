//! `kernel-extras` of the catalogue: all drivers and firmware for the version that runs. It is
//! fetched from where upgrades come from, or taken from a file or a mounted medium.

use super::list;
use crate::release::apart::repository;
use crate::release::boot_partitions::BootPartitions;
use crate::release::drivers::{Choice, KERNEL_EXTRAS, When};
use crate::release::source::Source;
use crate::release::{Release, copy, own_kernel, trust};
use anyhow::{Context, Result, ensure};
use corral_machine::boot_partition::{BootPartition, booted};
use corral_machine::os_release::running_version;
use corral_machine::{drivers, mounts};
use corral_resolve::effective::load_config;
use std::path::Path;

/// Adds all drivers to the version that runs. `from` is a file, a folder or an image.
pub fn add(from: Option<&str>) -> Result<()> {
    let running = running_version();
    if from.is_none() && are_here(&running)? {
        println!("version {running} has all drivers");
        return Ok(());
    }
    ensure!(
        booted::partition().is_some(),
        "this machine was not started from an installed disk; start the full ISO, or load \
         drivers.erofs by iPXE, and it has all drivers"
    );
    own_kernel::refuse(KERNEL_EXTRAS)?;
    let (source, release) = take(from, &running).with_context(|| refusal(from, &running))?;
    super::add_drivers(&source, &release, true)
}

/// The release that has them, checked.
fn take(from: Option<&str>, running: &str) -> Result<(Source, Release)> {
    let choice = Choice::load(When::Always, true);
    let source = open(from, running, &choice)?;
    let mut release = source.release()?;
    trust(&release, false)?;
    check_version(&release, running)?;
    choice.apply(&mut release)?;
    Ok((source, release))
}

fn refusal(from: Option<&str>, running: &str) -> String {
    match from {
        Some(from) => format!("{KERNEL_EXTRAS} was not enabled from {from}"),
        None => format!(
            "{KERNEL_EXTRAS} of version {running} was not enabled. `ros service enable \
             {KERNEL_EXTRAS} --from FILE` takes it from the archive of the release, `--from \
             FOLDER` from a mounted full ISO"
        ),
    }
}

/// Where the registry with the releases has an image apart from them: with `host/corral:1.2`,
/// `engine:podman` is `host/corral-engine:podman`.
pub fn beside_releases(name: &str) -> Result<String> {
    let release = image_of(&running_version())?;
    Ok(format!("{}-{name}", repository(&release)))
}

/// They came with the medium, or each boot partition has those of this version.
fn are_here(running: &str) -> Result<bool> {
    if booted::partition().is_none() {
        return Ok(mounts::is_mount_point(Path::new(drivers::MOUNT)));
    }
    Ok(BootPartitions::lock()?.iter().all(|partition| has_drivers(partition, running)))
}

/// Has a version the drivers that its own release names, undamaged?
fn has_drivers(partition: &BootPartition, version: &str) -> bool {
    let release = Source::Folder(partition.folder(version)).release();
    release
        .is_ok_and(|release| !release.drivers.is_empty() && copy::has_drivers(partition, &release))
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
        return Ok(format!("{}:{}", repository(&configured), list::tag_of(running)));
    }
    let listed = list::image_of(running).with_context(|| nowhere(running))?;
    listed.with_context(|| nowhere(running))
}

fn nowhere(running: &str) -> String {
    format!(
        "no registry with version {running} is known; `rancher.upgrade.image` or the list of \
         `rancher.upgrade.url` names one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::image::digest::digest_text;
    use serde_json::json;
    use sha2::{Digest, Sha256};
    use std::fs;

    /// The manifest of version 1, with the drivers that have these texts.
    fn manifest(drivers: &[(&str, &str)]) -> String {
        let layer = |name: &str, text: &str| {
            let digest = digest_text(Sha256::new_with_prefix(text));
            let annotations = json!({"org.opencontainers.image.title": name});
            json!({"digest": digest, "size": text.len(), "annotations": annotations})
        };
        let boot = ["vmlinuz", "initrd", "system.erofs"].map(|name| layer(name, ""));
        let drivers = drivers.iter().map(|(name, text)| layer(name, text));
        json!({
            "config": layer("", ""),
            "layers": boot.into_iter().chain(drivers).collect::<Vec<_>>(),
            "annotations": {"org.opencontainers.image.version": "1"},
        })
        .to_string()
    }

    #[test]
    fn a_refusal_shows_where_the_drivers_may_come_from() {
        let without = refusal(None, "1.2");
        for text in ["version 1.2", "`ros service enable kernel-extras --from FILE`", "full ISO"] {
            assert!(without.contains(text), "{text} is not in: {without}");
        }
        let expected = "kernel-extras was not enabled from /mnt";
        assert_eq!(refusal(Some("/mnt"), "1.2"), expected);
    }

    #[test]
    fn only_intact_drivers_of_the_installed_release_are_here() {
        let root = std::env::temp_dir().join(format!("corral-extras-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let partition = BootPartition::at(&root);
        let folder = partition.folder("1");
        fs::create_dir_all(&folder).unwrap();
        let [image, archive] = drivers::FILES;
        let full = manifest(&[(image, "the image"), (archive, "the archive")]);
        let bare = manifest(&[]);
        for (manifest, image_text, expected) in [
            (&full, "the image", true),
            (&full, "the imagE", false),
            (&full, "of another build", false),
            (&bare, "the image", false),
        ] {
            fs::write(folder.join("release.json"), manifest).unwrap();
            fs::write(folder.join(image), image_text).unwrap();
            fs::write(folder.join(archive), "the archive").unwrap();
            assert_eq!(has_drivers(&partition, "1"), expected, "{image_text} {manifest}");
        }
        fs::write(folder.join("release.json"), full).unwrap();
        fs::write(folder.join(image), "the image").unwrap();
        fs::remove_file(folder.join(archive)).unwrap();
        assert!(!has_drivers(&partition, "1"));
        fs::remove_dir_all(root).unwrap();
    }
}
