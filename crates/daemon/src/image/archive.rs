//! Images as files: `docker load`, `save` and `import`. Read are Docker's own form
//! (`manifest.json`) and OCI layouts (`index.json`); written is one archive that is both.

use super::layer::{self, Hashing};
use super::spooled::{Listed, Spooled, spool};
use super::store::{Store, incoming};
use anyhow::{Context, Result, bail};
use corral_engine::archive::pack::{Packed, pack};
use corral_engine::archive::root::open_root;
use corral_engine::durable;
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::image::digest::{digest_text, hex};
use corral_engine::image::layout::{self, Layer, StoredImage};
use corral_engine::image::lookup;
use corral_engine::image::metadata::{Image, Tier};
use corral_engine::image::reference;
use corral_engine::time;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tar::{Builder, Header};

impl Store {
    /// Takes every image of an archive, with the names that it has there or without any. Returns
    /// Docker's messages of what came, a line each.
    pub fn load(
        &self,
        reader: impl Read + 'static,
        with_names: bool,
    ) -> Result<Vec<String>, EngineError> {
        let folder = incoming(&format!("load-{}", new_id()));
        let spooled = Spooled::read(layer::decompress(reader)?, folder)?;
        let mut lines = Vec::new();
        for listed in spooled.images()? {
            let names = listed.repo_tags.clone().filter(|_| with_names).unwrap_or_default();
            let names = names
                .iter()
                .map(|name| reference::familiar(name))
                .collect::<Result<Vec<_>, _>>()?;
            let id = self.take(&spooled, &listed, &names)?;
            match names.is_empty() {
                true => lines.push(format!("Loaded image ID: {id}")),
                false => lines.extend(names.iter().map(|name| format!("Loaded image: {name}"))),
            }
        }
        Ok(lines)
    }

    fn take(&self, spooled: &Spooled, listed: &Listed, names: &[String]) -> Result<String> {
        let raw = spooled.text(&listed.config)?;
        let raw = raw.with_context(|| format!("the archive has no {}", listed.config))?;
        let value: Value =
            serde_json::from_slice(&raw).with_context(|| format!("reading {}", listed.config))?;
        let diff_ids: Vec<String> = serde_json::from_value(value["rootfs"]["diff_ids"].clone())
            .with_context(|| format!("reading the layers that {} names", listed.config))?;
        if diff_ids.len() != listed.layers.len() {
            bail!(
                "{} names {} layers, but the archive has {}",
                listed.config,
                diff_ids.len(),
                listed.layers.len()
            );
        }
        let mut layers = Vec::new();
        for (diff_id, name) in diff_ids.iter().zip(&listed.layers) {
            let file = spooled.get(name)?;
            let blob = layout::blob(&file.digest);
            if !blob.exists() {
                durable::rename(&file.path, &blob)?;
            }
            layer::unpack(&blob, diff_id).with_context(|| format!("layer {name}"))?;
            layers.push(Layer {
                diff_id: diff_id.clone(),
                digest: file.digest.clone(),
                size: file.size,
                media_type: media_type(&blob)?.to_owned(),
            });
        }
        self.commit_new(&raw, layers, names)
    }

    /// Commits an image of which there is no manifest yet.
    fn commit_new(&self, config: &[u8], layers: Vec<Layer>, names: &[String]) -> Result<String> {
        let stored = store_config(config, layers)?;
        self.commit(&stored, names, &[])?;
        Ok(stored.id)
    }

    /// Makes an image of an archive of files.
    pub fn import(
        &self,
        reader: impl Read + 'static,
        name: Option<&str>,
        config: Value,
        comment: &str,
    ) -> Result<String, EngineError> {
        let names = name.map(reference::familiar).transpose()?;
        let fresh = incoming(&format!("import-{}", new_id()));
        let digest = spool(layer::decompress(reader)?, &fresh)?.0;
        let id = self.adopt_layer(&fresh, &digest, (config, comment), names.as_slice());
        let _ = fs::remove_file(&fresh);
        Ok(id?)
    }

    fn adopt_layer(
        &self,
        fresh: &Path,
        digest: &str,
        (config, comment): (Value, &str),
        names: &[String],
    ) -> Result<String> {
        let blob = layout::blob(digest);
        let size = fs::metadata(fresh)?.len();
        if !blob.exists() {
            durable::rename(fresh, &blob)?;
        }
        layer::unpack(&blob, digest)?;
        let created = time::rfc3339(time::now());
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": created, "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest]},
            "history": [{"created": created, "comment": comment}],
        });
        let media_type = media_type(&blob)?.to_owned();
        let layer =
            Layer { diff_id: digest.to_owned(), digest: digest.to_owned(), size, media_type };
        self.commit_new(&serde_json::to_vec(&config)?, vec![layer], names)
    }
}

/// What an image is made of by `docker commit`.
pub(crate) struct Commit {
    /// The container's upper folder.
    pub(crate) upper: PathBuf,
    /// Its image.
    pub(crate) base: Image,
    pub(crate) config: Value,
    pub(crate) created_by: String,
    pub(crate) author: String,
    pub(crate) comment: String,
}

/// A layer that was read from a container, and the image that it will be the top of.
pub(crate) struct PackedCommit {
    fresh: PathBuf,
    layer: (String, u64),
    base: StoredImage,
    config: Value,
}

impl Drop for PackedCommit {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.fresh);
    }
}

impl Store {
    /// Reads the container's files: while it is paused, so no more than this.
    pub(crate) fn pack_commit(&self, commit: &Commit) -> Result<PackedCommit> {
        let fresh = incoming(&format!("commit-{}", new_id()));
        let packed = pack_layer(&commit.upper, Packed::Layer, &fresh);
        let layer = packed.inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })?;
        let base = &commit.base.raw;
        let created = time::rfc3339(time::now());
        let mut history = base["history"].as_array().cloned().unwrap_or_default();
        history.push(json!({
            "created": created, "created_by": commit.created_by, "author": commit.author,
            "comment": commit.comment,
        }));
        let config = json!({
            "architecture": base["architecture"].as_str().unwrap_or("amd64"),
            "os": base["os"].as_str().unwrap_or("linux"), "created": created,
            "author": commit.author, "config": commit.config, "history": history,
            // Not of the OCI: Docker's clients look for it.
            "parent": commit.base.id,
        });
        Ok(PackedCommit { fresh, layer, base: into_store(&commit.base)?, config })
    }

    /// Makes the image; returns its id.
    pub(crate) fn commit_packed(
        &self,
        packed: PackedCommit,
        name: Option<&str>,
    ) -> Result<String, EngineError> {
        let names = name.map(reference::familiar).transpose()?;
        Ok(self.adopt_commit(&packed, names.as_slice())?)
    }

    fn adopt_commit(&self, packed: &PackedCommit, names: &[String]) -> Result<String> {
        let (digest, size) = &packed.layer;
        let blob = layout::blob(digest);
        if !blob.exists() {
            durable::rename(&packed.fresh, &blob)?;
        }
        layer::unpack(&blob, digest)?;
        let media_type = media_type(&blob)?.to_owned();
        let mut layers = packed.base.layers.clone();
        layers.push(Layer {
            diff_id: digest.clone(),
            digest: digest.clone(),
            size: *size,
            media_type,
        });
        let diff_ids: Vec<&String> = layers.iter().map(|layer| &layer.diff_id).collect();
        let mut config = packed.config.clone();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        // The layers of an embedded image are only packed so far.
        for layer in &layers {
            layer::unpack(&layout::blob(&layer.digest), &layer.diff_id)?;
        }
        self.commit_new(&serde_json::to_vec(&config)?, layers, names)
    }
}

/// Puts a configuration and the manifest that it makes with its layers into the store.
fn store_config(config: &[u8], layers: Vec<Layer>) -> Result<StoredImage> {
    let id = Store::put_blob(config)?;
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|layer| {
            json!({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size})
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": id,
            "size": config.len(),
        },
        "layers": descriptors,
    });
    let manifest = Store::put_blob(&serde_json::to_vec(&manifest)?)?;
    let size = layer::unpacked_size(&layers);
    Ok(StoredImage { id, manifest, layers, size })
}

/// What an image is made of; an embedded one is packed into the store for it.
pub(super) fn into_store(image: &Image) -> Result<StoredImage> {
    if image.tier == Tier::Stored {
        return layout::load_stored(&image.id)
            .with_context(|| format!("{} is not in the store any more", image.id));
    }
    let mut layers = Vec::new();
    for folder in image.lower.iter().rev() {
        let fresh = incoming(&format!("pack-{}", new_id()));
        let packed = pack_layer(folder, Packed::Inside, &fresh);
        let (digest, size) = match packed {
            Ok(packed) => packed,
            Err(error) => {
                let _ = fs::remove_file(&fresh);
                return Err(error);
            }
        };
        durable::rename(&fresh, &layout::blob(&digest))?;
        let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
        layers.push(Layer { diff_id: digest.clone(), digest, size, media_type });
    }
    let mut config = image.raw.clone();
    config["rootfs"]["diff_ids"] =
        json!(layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>());
    let mut stored = store_config(&serde_json::to_vec(&config)?, layers)?;
    stored.size = image.size;
    Ok(stored)
}

fn pack_layer(folder: &Path, packed: Packed, fresh: &Path) -> Result<(String, u64)> {
    if let Some(parent) = fresh.parent() {
        fs::create_dir_all(parent)?;
    }
    pack(&open_root(folder)?, Path::new(""), packed, io::BufWriter::new(File::create(fresh)?))?;
    let mut reader = Hashing::new(File::open(fresh)?);
    io::copy(&mut reader, &mut io::sink())?;
    Ok((digest_text(reader.hasher), reader.count))
}

/// Writes images with their names into one archive.
pub(crate) fn save(names: &[String], writer: impl Write) -> Result<(), EngineError> {
    let mut images: Vec<(StoredImage, Vec<String>)> = Vec::new();
    for name in names {
        let image = lookup::find(name)?;
        // An image that is named by its id is saved without names, as in Docker.
        let tags: Vec<String> = match reference::familiar(name) {
            Ok(full) if image.references.contains(&full) => vec![full],
            _ => Vec::new(),
        };
        let stored = into_store(&image)?;
        match images.iter_mut().find(|(other, _)| other.id == stored.id) {
            Some((_, known)) => known.extend(tags),
            None => images.push((stored, tags)),
        }
    }
    Ok(write(&images, writer)?)
}

fn write(images: &[(StoredImage, Vec<String>)], writer: impl Write) -> Result<()> {
    let mut builder = Builder::new(writer);
    let mut written: Vec<String> = Vec::new();
    let mut listed = Vec::new();
    let mut index = Vec::new();
    let path_of = |digest: &str| format!("blobs/sha256/{}", hex(digest));
    for (stored, tags) in images {
        let blobs =
            stored.layers.iter().map(|layer| &layer.digest).chain([&stored.id, &stored.manifest]);
        for digest in blobs {
            if !written.contains(digest) {
                written.push(digest.clone());
                let mut file = File::open(layout::blob(digest))
                    .with_context(|| format!("reading {digest}"))?;
                builder.append_file(path_of(digest), &mut file)?;
            }
        }
        let layers: Vec<String> =
            stored.layers.iter().map(|layer| path_of(&layer.digest)).collect();
        listed.push(json!({"Config": path_of(&stored.id), "RepoTags": tags, "Layers": layers}));
        let size = fs::metadata(layout::blob(&stored.manifest))?.len();
        let mut entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": stored.manifest,
            "size": size,
        });
        if let Some(tag) = tags.first() {
            entry["annotations"] =
                json!({"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag});
        }
        index.push(entry);
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": index,
    });
    for (name, value) in [
        ("index.json", index),
        ("manifest.json", json!(listed)),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ] {
        let bytes = serde_json::to_vec(&value)?;
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice())?;
    }
    builder.into_inner()?.flush()?;
    Ok(())
}

fn media_type(blob: &Path) -> Result<&'static str> {
    let mut start = [0_u8; 4];
    let count = File::open(blob)?.read(&mut start)?;
    Ok(layer::media_type(&start[..count]))
}
