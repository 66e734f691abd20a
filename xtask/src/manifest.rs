//! `manifest.json`: which packages the image holds, in which versions and hashes, and what weighs what.

use crate::layers::Layer;
use crate::packages::Package;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[derive(Debug, Serialize)]
struct Manifest<'a> {
    version: &'a str,
    kernel: &'a str,
    /// Bytes of each file of the image.
    files: Vec<(String, u64)>,
    /// Bytes of each part of system.erofs, before compression.
    parts: Vec<(String, u64)>,
    packages: Vec<&'a Package>,
}

/// Writes the manifest, and prints what weighs what.
pub(crate) fn write(
    folder: &Path,
    version: &str,
    kernel: &str,
    layers: &[Layer],
    (packages, parts): (&[Package], Vec<(String, u64)>),
) -> Result<()> {
    let shipped: BTreeSet<&String> = layers.iter().flat_map(|layer| &layer.recipe.packages).collect();
    let mut files = Vec::new();
    for item in fs::read_dir(folder)? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name != "manifest.json" {
            files.push((name, item.metadata()?.len()));
        }
    }
    files.sort();
    print_table("file", &files);
    print_table("part of system.erofs, uncompressed", &parts);
    let packages = packages
        .iter()
        .filter(|package| {
            shipped.contains(&package.name)
                || package.name.starts_with("lib")
                || package.name.starts_with("linux-image")
        })
        .collect();
    let manifest = Manifest { version, kernel, files, parts, packages };
    fs::write(folder.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(())
}

fn print_table(title: &str, rows: &[(String, u64)]) {
    eprintln!("\n{:>9}  {title}", "MB");
    for (name, bytes) in rows {
        eprintln!("{:>9.2}  {name}", *bytes as f64 / 1e6);
    }
}
