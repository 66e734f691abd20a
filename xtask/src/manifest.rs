//! `manifest.json`: which packages the image holds or is built from, in which versions and with
//! which hashes, and the sizes of its parts. A release includes it as its contents.

use crate::packages::Package;
use crate::parts::Weight;
use crate::paths;
use crate::tree::{Kind, Tree};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[derive(Debug, Serialize)]
struct Manifest<'a> {
    version: &'a str,
    kernel: &'a str,
    /// Bytes of each part of system.erofs, before compression. Machines that upgrade read this.
    parts: Vec<(&'a str, u64)>,
    /// What each part weighs when it is packed by itself; only of a release.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    packed: BTreeMap<&'a str, u64>,
    packages: &'a [Package],
}

/// What a release reads in the manifest of its image.
#[derive(Debug, Deserialize)]
pub(crate) struct Contents {
    pub(crate) kernel: String,
    pub(crate) packages: Vec<Package>,
}

/// Reads that of the image.
pub(crate) fn load() -> Result<Contents> {
    let path = paths::image().join("manifest.json");
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))
}

/// Writes the manifest, and prints the sizes of the parts.
pub(crate) fn write(
    folder: &Path,
    version: &str,
    kernel: &str,
    packages: &[Package],
    parts: &[Weight],
) -> Result<()> {
    let sizes: Vec<_> = parts.iter().map(|part| (part.name.as_str(), part.bytes)).collect();
    let packed: Vec<_> =
        parts.iter().filter_map(|part| Some((part.name.as_str(), part.packed?))).collect();
    match packed.is_empty() {
        true => print_table("part of system.erofs, not packed", &sizes),
        false => print_table("part of system.erofs, packed", &packed),
    }
    let packed = packed.into_iter().collect();
    let manifest = Manifest { version, kernel, parts: sizes, packed, packages };
    fs::write(folder.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(())
}

/// Prints the sizes of the image's files.
pub(crate) fn print(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder)? {
        let item = item?;
        files.push((item.file_name().to_string_lossy().into_owned(), item.metadata()?.len()));
    }
    files.sort();
    print_table("file", &files);
    Ok(())
}

/// The packages of which at least one file is in these trees, and the kernel's.
pub(crate) fn shipped<'a>(trees: &[&Tree], packages: &'a [Package]) -> Vec<&'a Package> {
    let entries = trees.iter().flat_map(|tree| tree.entries.values());
    let hosts = entries.filter_map(|entry| match &entry.kind {
        Kind::File(blob) => blob.host().map(Path::to_path_buf),
        _ => None,
    });
    let files: Vec<_> = hosts.collect();
    let is_shipped = |package: &&Package| {
        let folder = package.files();
        package.name.starts_with("linux-image")
            || files.iter().any(|file| file.starts_with(&folder))
    };
    packages.iter().filter(is_shipped).collect()
}

fn print_table(title: &str, rows: &[(impl AsRef<str>, u64)]) {
    eprintln!("\n{:>9}  {title}", "MB");
    for (name, bytes) in rows {
        eprintln!("{:>9.2}  {}", *bytes as f64 / 1e6, name.as_ref());
    }
}
