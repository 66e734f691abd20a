//! Checks that the store is intact. Every blob is hashed, and every unpacked layer compared with
//! its archive.

use super::layer::{self, decompress};
use super::store::{Store, incoming};
use anyhow::{Context, Result, bail};
use corral_engine::archive::root::{open_in, open_root};
use corral_engine::image::digest::digest_of;
use corral_engine::image::layout::{self, Layer, StoredImage};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, readlinkat, statat};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The image that has it, by its name or else its id.
    pub image: String,
    pub what: String,
    /// It was unpacked again from its blob, which is intact.
    pub repaired: bool,
}

impl Store {
    /// Checks every image. If a repair is requested, damaged layers are unpacked again from intact
    /// blobs. Blobs that are damaged are removed, so that the next pull fetches them again.
    pub fn check(&self, repair: bool) -> Vec<Damage> {
        let references = layout::References::load();
        let mut found = Vec::new();
        let mut sound: BTreeSet<String> = BTreeSet::new();
        for kept in layout::all_stored() {
            let name = references
                .names
                .iter()
                .find(|(_, id)| **id == kept.id)
                .map(|(name, _)| name.clone());
            let image = name.unwrap_or_else(|| kept.id.clone());
            let mut report = |what: String, repaired: bool| {
                found.push(Damage { image: image.clone(), what, repaired })
            };
            check_blobs(&kept, repair, &mut sound, &mut report);
            for layer in &kept.layers {
                if !sound.insert(layer.diff_id.clone()) {
                    continue;
                }
                if let Err(error) = compare(layer) {
                    let repaired = repair && rebuild(layer).is_ok();
                    report(format!("layer {}: {error:#}", layer.diff_id), repaired);
                }
            }
        }
        found
    }
}

fn check_blobs(
    kept: &StoredImage,
    repair: bool,
    sound: &mut BTreeSet<String>,
    report: &mut impl FnMut(String, bool),
) {
    let blobs = kept.layers.iter().map(|layer| &layer.digest).chain([&kept.id, &kept.manifest]);
    for digest in blobs {
        if !sound.insert(format!("blob {digest}")) {
            continue;
        }
        if let Err(error) = hash(&layout::blob(digest), digest) {
            report(format!("blob {digest}: {error:#}"), false);
            if repair {
                // A pull takes what is there for intact.
                let _ = fs::remove_file(layout::blob(digest));
            }
        }
    }
}

fn hash(path: &Path, wanted: &str) -> Result<()> {
    let file = File::open(path).context("it cannot be read")?;
    let found = digest_of(file).context("it cannot be read")?;
    if found == wanted { Ok(()) } else { bail!("its digest is {found}") }
}

/// Unpacks a layer again. Containers that run keep the old tree until they end.
fn rebuild(wanted: &Layer) -> Result<()> {
    let blob = layout::blob(&wanted.digest);
    hash(&blob, &wanted.digest)?;
    let damaged = incoming(&format!("damaged-{}", corral_engine::id::new_id()));
    fs::create_dir_all(layout::folder().join("incoming"))?;
    if layout::layer(&wanted.diff_id).exists() {
        fs::rename(layout::layer(&wanted.diff_id), &damaged)?;
    }
    layer::unpack(&blob, &wanted.diff_id)?;
    let _ = fs::remove_dir_all(damaged);
    Ok(())
}

/// Compares a layer's tree with its archive.
fn compare(layer: &Layer) -> Result<()> {
    let root = open_root(&layout::layer(&layer.diff_id)).context("its files are missing")?;
    let reader =
        decompress(File::open(layout::blob(&layer.digest)).context("its blob is missing")?)?;
    let mut archive = tar::Archive::new(reader);
    // A name may be there twice: the last entry is the one that is compared.
    let mut last: Vec<(PathBuf, Expected)> = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry
            .path()?
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let kind = entry.header().entry_type();
        let expected = if kind.is_file() {
            Expected::File(digest_of(&mut entry)?, entry.header().size()?)
        } else if kind.is_symlink() {
            Expected::Link(entry.link_name()?.unwrap_or_default().into_owned())
        } else if kind.is_dir() {
            Expected::Folder
        } else {
            continue;
        };
        last.push((path, expected));
    }
    let mut seen = BTreeSet::new();
    for (path, expected) in last.iter().rev() {
        let hidden =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".wh."));
        if !hidden && seen.insert(path.clone()) {
            expected.check(&root, path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// What an archive has at a path.
enum Expected {
    File(String, u64),
    Link(PathBuf),
    Folder,
}

impl Expected {
    fn check(&self, root: &OwnedFd, path: &Path) -> Result<()> {
        let parent = open_in(root, path.parent().unwrap_or(Path::new("")), OFlags::DIRECTORY)
            .context("missing")?;
        let name = path.file_name().unwrap_or(std::ffi::OsStr::new("."));
        let data = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).context("missing")?;
        let kind = FileType::from_raw_mode(data.st_mode);
        match self {
            Expected::Folder if kind == FileType::Directory => Ok(()),
            Expected::Link(target) if kind == FileType::Symlink => {
                let found = readlinkat(&parent, name, Vec::new())?;
                let same = found.to_bytes() == target.as_os_str().as_encoded_bytes();
                if same { Ok(()) } else { bail!("its link target changed") }
            }
            Expected::File(digest, size) if kind == FileType::RegularFile => {
                if u64::try_from(data.st_size).ok() != Some(*size) {
                    bail!("it has {} bytes instead of {size}", data.st_size);
                }
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
                let found = digest_of(File::from(opened))?;
                if found == *digest { Ok(()) } else { bail!("its content changed") }
            }
            _ => bail!("its file type changed"),
        }
    }
}
