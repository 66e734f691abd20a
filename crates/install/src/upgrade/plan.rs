//! `ros os upgrade --plan`: shows what would change, and changes nothing.

use crate::release::Release;
use crate::release::source::Source;
use anyhow::{Context, Result};
use corral_machine::boot_partition::booted;
use corral_machine::os_release::running_version;
use corral_terminal::size::megabytes;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Contents {
    kernel: String,
    packages: Vec<Package>,
    parts: Vec<(String, u64)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Package {
    name: String,
    version: String,
}

/// Prints it. `drivers` is what there is to say about them, and `verdict` about an older version.
pub(super) fn show(
    source: &Source,
    release: &Release,
    drivers: &[String],
    verdict: Option<&str>,
) -> Result<()> {
    let new = load(source, release)?;
    let old =
        Source::running().and_then(|source| load(&source, &source.release()?)).unwrap_or_default();
    println!("version   {} → {}", running_version(), release.version);
    verdict.iter().for_each(|line| println!("          {line}"));
    println!("kernel    {} → {}", old.kernel, new.kernel);
    describe("packages", &versions(&old), &versions(&new));
    describe("images", &images(&old), &images(&new));
    println!("disk      {} on the boot partition", megabytes(release.size()));
    if let Some(partition) = booted::partition() {
        println!("          {} of it are free now", megabytes(partition.free()?));
    }
    drivers.iter().for_each(|line| println!("drivers   {line}"));
    println!("config    stays as it is");
    println!("nothing was changed");
    Ok(())
}

fn load(source: &Source, release: &Release) -> Result<Contents> {
    let mut bytes = Vec::new();
    source.read(&release.contents)?.take(release.contents.size).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).context("reading what the release contains")
}

fn versions(contents: &Contents) -> BTreeMap<String, String> {
    contents
        .packages
        .iter()
        .map(|package| (package.name.clone(), package.version.clone()))
        .collect()
}

/// Service images with their sizes: an image with another size has changed.
fn images(contents: &Contents) -> BTreeMap<String, String> {
    let image = |(name, size): &(String, u64)| {
        Some((name.strip_prefix("image ")?.to_owned(), format!("{:.2} MB", *size as f64 / 1e6)))
    };
    contents.parts.iter().filter_map(image).collect()
}

fn describe(what: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed: Vec<&&String> =
        names.iter().filter(|name| old.get(**name) != new.get(**name)).collect();
    println!("{what:<9} {} change, {} stay", changed.len(), names.len() - changed.len());
    for name in changed {
        let shown = |side: &BTreeMap<String, String>| {
            side.get(name.as_str()).cloned().unwrap_or_else(|| "–".to_owned())
        };
        println!("          {name} {} → {}", shown(old), shown(new));
    }
}
