//! The parts of system.erofs, and what each of them weighs.

use crate::binaries::Binaries;
use crate::erofs::{self, Density, Packing};
use crate::layers::Layer;
use crate::packages::Package;
use crate::paths;
use crate::tree::{Blob, Entry, Tree};
use anyhow::{Context, Result};
use std::fs;

/// A part of system.erofs.
pub(crate) struct Part {
    pub(crate) weight: Weight,
    files: Tree,
}

/// What a part weighs, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) name: String,
    /// Of its files.
    pub(crate) bytes: u64,
    /// Packed by itself as densely as a release. None if the image is not packed so.
    pub(crate) packed: Option<u64>,
}

/// The programs of Corral, the modules, and each image.
pub(crate) fn of(binaries: &Binaries, layers: &[Layer], modules: &Tree) -> Result<Vec<Part>> {
    let mut ros = Tree::default();
    ros.insert("usr/bin/ros", Entry::file(Blob::Host(binaries.ros.clone()), 0o755));
    let mut parts = vec![Part::new("ros", ros), Part::new("kernel modules", modules.clone())];
    let images = layers.iter().map(|layer| {
        let name = format!("image {}", layer.name);
        Part::new(&name, layer.tree.clone())
    });
    parts.extend(images);
    Ok(parts)
}

/// Packs each part by itself. Together they are a little smaller, because equal pieces are stored
/// once.
pub(crate) fn weigh(parts: &mut [Part], packages: &[Package], epoch: u64) -> Result<()> {
    let output = paths::cache("part.erofs");
    let packing = Packing { label: erofs::SYSTEM, density: Density::Dense, epoch };
    for part in parts {
        erofs::write(&part.files, &output, packing, packages)
            .with_context(|| format!("weighing {}", part.weight.name))?;
        part.weight.packed = Some(
            fs::metadata(&output).with_context(|| format!("weighing {}", part.weight.name))?.len(),
        );
    }
    fs::remove_file(&output).context("removing the last weighed part")
}

impl Part {
    fn new(name: &str, files: Tree) -> Part {
        let weight = Weight { name: name.to_owned(), bytes: files.size(), packed: None };
        Part { weight, files }
    }
}
