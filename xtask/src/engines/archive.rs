//! An engine as an OCI image layout in a tar archive: one layer, packed by zstd.

use crate::image::VERSION_LABEL;
use crate::recipe::Recipe;
use crate::tree::Tree;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The label with the engine's name, which `ros engine` shows.
const ENGINE_LABEL: &str = "dev.corral.engine";
const LEVEL: i32 = 3;

/// What the labels of the image say.
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) recipe: &'a Recipe,
    pub(super) version: &'a str,
}

/// Writes the archive; the same tree gives the same bytes.
pub(super) fn write(tree: &Tree, about: &About<'_>, output: &Path) -> Result<()> {
    let mut files = Vec::new();
    tree.write_tar(&mut files, 0)?;
    let labels = json!({
        ENGINE_LABEL: about.name,
        VERSION_LABEL: about.version,
        "org.opencontainers.image.title": about.name,
        "org.opencontainers.image.description": about.recipe.about,
    });
    let mut layout = Tree::default();
    layout.write("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [digest(&files)]},
    });
    let packed = zstd::encode_all(files.as_slice(), LEVEL).context("packing the layer")?;
    let layer = blob(&mut layout, LAYER, packed);
    let config = blob(&mut layout, CONFIG, config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": labels,
    });
    let mut entry = blob(&mut layout, MANIFEST, manifest.to_string().into_bytes());
    // The first is the tag in a registry, the second the name after `docker load`.
    entry["annotations"] = json!({
        "org.opencontainers.image.ref.name": about.name,
        "io.containerd.image.name": format!("corral/engine:{}", about.name),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });
    layout.write("index.json", index.to_string());
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = output.with_extension("new");
    layout.write_tar(BufWriter::new(File::create(&fresh)?), 0)?;
    fs::rename(&fresh, output).with_context(|| format!("writing {}", output.display()))
}

/// Adds a blob; returns its descriptor.
fn blob(layout: &mut Tree, kind: &str, bytes: Vec<u8>) -> Value {
    let digest = digest(&bytes);
    let descriptor = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
    layout.write(&format!("blobs/{}", digest.replace(':', "/")), bytes);
    descriptor
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
