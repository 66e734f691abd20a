//! All that registries serve, as one OCI image layout in a tar archive: the release with its
//! signature, the replacement engines, the images of the catalogue. A tag is
//! `org.opencontainers.image.ref.name`: `corral:1.2.3`, `corral-engine:podman`,
//! `corral-os-open-iscsi:1.2.3`.

use crate::layers::Layer;
use crate::tree::{Blob, Entry, Tree};
use crate::{image, paths};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Read};
use std::path::Path;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LEVEL: i32 = 12;

/// A layout to be written.
#[derive(Debug, Default)]
pub(super) struct Layout {
    tree: Tree,
    manifests: Vec<Value>,
}

impl Layout {
    /// Adds everything in a layout of its own; its tags become tags of this repository.
    pub(super) fn add_archive(&mut self, archive: &Path, repository: &str) -> Result<()> {
        let open = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
        for entry in tar::Archive::new(open).entries()? {
            let mut entry = entry.with_context(|| format!("reading {}", archive.display()))?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if name == "index.json" {
                let index: Value = serde_json::from_slice(&bytes).context("reading the index")?;
                let manifests = index["manifests"].as_array().context("an index without a list")?;
                self.manifests.extend(manifests.iter().map(|entry| renamed(entry, repository)));
            } else if name.starts_with("blobs/sha256/") && !name.ends_with('/') {
                self.tree.write(&name, bytes);
            }
        }
        Ok(())
    }

    /// Adds an image of the system, with the layers that it stands on.
    pub(super) fn add_image(&mut self, layer: &Layer, all: &[Layer], epoch: u64) -> Result<()> {
        let (mut layers, mut digests) = (Vec::new(), Vec::new());
        for name in &layer.stack {
            let below = all.iter().find(|layer| &layer.name == name);
            let tree = &below.with_context(|| format!("there is no layer {name}"))?.tree;
            let mut files = Vec::new();
            tree.write_tar(&mut files, epoch)?;
            digests.push(digest(&files));
            let packed = zstd::encode_all(files.as_slice(), LEVEL).context("packing a layer")?;
            layers.push(self.blob(LAYER, packed));
        }
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": image::oci_config(layer),
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = self.blob(CONFIG, config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
            "annotations": {
                "org.opencontainers.image.title": layer.name,
                "org.opencontainers.image.description": layer.recipe.about,
                image::VERSION_LABEL: image::VERSION,
            },
        });
        let mut entry = self.blob(MANIFEST, manifest.to_string().into_bytes());
        entry["annotations"] =
            json!({REF_NAME: format!("corral-os-{}:{}", layer.name, image::VERSION)});
        self.manifests.push(entry);
        Ok(())
    }

    /// Writes the layout.
    pub(super) fn write(mut self, output: &Path) -> Result<()> {
        self.manifests.sort_by_key(|entry| entry["annotations"][REF_NAME].to_string());
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests});
        self.tree.write("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        self.tree.write("index.json", serde_json::to_vec_pretty(&index)?);
        let file = File::create(output).with_context(|| format!("making {}", output.display()))?;
        self.tree.write_tar(BufWriter::new(file), 0)
    }

    /// Adds a blob; returns its descriptor.
    fn blob(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
        let path = format!("blobs/{}", digest.replace(':', "/"));
        self.tree.insert(&path, Entry::file(Blob::Bytes(bytes), 0o644));
        descriptor
    }
}

/// Names of the system's images that entries of the catalogue run.
pub(super) fn names_in_catalogue() -> Result<BTreeSet<String>> {
    let folder = paths::root().join("images/catalog");
    let mut names = BTreeSet::new();
    for item in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let text = fs::read_to_string(item?.path())?;
        let images = text.lines().filter_map(|line| line.trim().strip_prefix("image: corral/os-"));
        names.extend(images.map(str::to_owned));
    }
    Ok(names)
}

/// An entry of an index as that of another one. A tag may have a repository before it already.
fn renamed(entry: &Value, repository: &str) -> Value {
    let mut entry = entry.clone();
    let old = entry["annotations"][REF_NAME].as_str().unwrap_or_default();
    let tag = old.rsplit_once(':').map_or(old, |(_, tag)| tag);
    entry["annotations"] = json!({REF_NAME: format!("{repository}:{tag}")});
    entry
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_merged_and_each_tag_has_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for tag in ["1.2.3", "podman"] {
            let mut layout = Layout::default();
            let mut entry = layout.blob(MANIFEST, tag.as_bytes().to_vec());
            entry["annotations"] = json!({REF_NAME: tag, "io.containerd.image.name": "x"});
            layout.manifests.push(entry);
            let file = folder.path().join(tag);
            layout.write(&file).unwrap();
            names.push(file);
        }
        let mut all = Layout::default();
        all.add_archive(&names[0], "corral").unwrap();
        all.add_archive(&names[1], "corral-engine").unwrap();
        let tags: Vec<&str> = all
            .manifests
            .iter()
            .filter_map(|entry| entry["annotations"][REF_NAME].as_str())
            .collect();
        assert_eq!(tags, ["corral:1.2.3", "corral-engine:podman"]);
        for entry in &all.manifests {
            let path = format!("blobs/{}", entry["digest"].as_str().unwrap().replace(':', "/"));
            assert!(all.tree.contains(&path));
        }
    }

    #[test]
    fn the_catalogue_runs_images_that_have_recipes() {
        let names = names_in_catalogue().unwrap();
        assert!(names.contains("open-iscsi"), "{names:?}");
        for name in names {
            assert!(paths::root().join("images").join(&name).join("image.yml").exists(), "{name}");
        }
    }
}
