//! The licences of a release as one archive: those of all parts of the system, and those of the
//! replacement engines and of the kernel's headers, which are files of their own.

use super::gzip;
use crate::engines::{Engine, REPOSITORY};
use crate::licences::standard::TEXTS;
use crate::licences::{self, Shipped};
use crate::tree::{Blob, Entry, Tree};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Writes the archive.
pub(super) fn write(
    shipped: &Shipped<'_>,
    engines: &[Engine],
    output: &Path,
    epoch: u64,
) -> Result<()> {
    let mut tree = Tree::default();
    for part in licences::gather(shipped)? {
        let folder = folder(&part);
        for (name, blob) in part.texts {
            tree.insert(&format!("{folder}/{name}"), Entry::file(blob, 0o644));
        }
    }
    for engine in engines {
        for package in &engine.packages {
            let file = licences::copyright(package, &engine.fetched)?;
            let folder = match engine.repository {
                REPOSITORY => format!("engines/{}/{}", engine.name, package.name),
                _ => format!("services/{}/{}", engine.name, package.name),
            };
            tree.insert(&format!("{folder}/copyright"), Entry::file(Blob::Host(file), 0o644));
        }
    }
    for item in fs::read_dir(TEXTS).with_context(|| format!("reading {TEXTS}"))? {
        let path = fs::canonicalize(item?.path()).with_context(|| format!("reading {TEXTS}"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entry = Entry::file(Blob::Host(path), 0o644);
        tree.insert(&format!("debian/common-licenses/{name}"), entry);
    }
    gzip::write_tree(&tree, output, epoch)
}

/// There may be several versions of a crate.
fn folder(part: &licences::Licensed) -> String {
    let (kind, component) = (part.kind.name(), &part.component);
    match part.kind {
        licences::Kind::Corral => kind.to_owned(),
        licences::Kind::Crate => format!("{kind}/{}-{}", component.name, component.version),
        _ => format!("{kind}/{}", component.name),
    }
}
