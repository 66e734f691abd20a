//! OCI image layouts, each in a tar archive: blobs by their digests, and an index of the manifests
//! that have names. <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use crate::sum;
use crate::tree::{Blob, Entry, Kind, Tree};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Read};
use std::path::Path;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SHA256: &str = "sha256:";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The annotation with the name of a manifest in the index: a tag, with a repository before it or
/// without.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The label with the version of what an image holds, and that annotation of its manifest.
pub(crate) const VERSION_LABEL: &str = "org.opencontainers.image.version";
/// The annotation with the name after `docker load`.
pub(crate) const LOADED_NAME: &str = "io.containerd.image.name";

/// A layout to be written.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    tree: Tree,
    manifests: Vec<Value>,
}

/// An image to be added to a layout.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// Its file systems, lowest first.
    pub(crate) layers: &'a [&'a Tree],
    /// The time of all its files, in seconds since 1970.
    pub(crate) epoch: u64,
    /// How densely zstd packs the layers.
    pub(crate) level: i32,
    /// The member `config` of its configuration.
    pub(crate) config: Value,
    pub(crate) annotations: Value,
}

impl Layout {
    /// Adds an image; `names` are the annotations of its entry in the index.
    pub(crate) fn add_image(&mut self, image: &Image<'_>, names: Value) -> Result<()> {
        let (mut layers, mut digests) = (Vec::new(), Vec::new());
        for tree in image.layers {
            let mut files = Vec::new();
            tree.write_tar(&mut files, image.epoch)?;
            digests.push(prefixed(&sum::digest_of_bytes(&files)));
            let packed = zstd::encode_all(files.as_slice(), image.level);
            layers.push(self.blob(LAYER, packed.context("packing a layer")?));
        }
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = self.blob(CONFIG, config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
            "annotations": image.annotations,
        });
        self.add_manifest(manifest.to_string().into_bytes(), names);
        Ok(())
    }

    /// Adds a manifest, whose blobs are added apart; `names` are the annotations of its entry in
    /// the index.
    pub(crate) fn add_manifest(&mut self, manifest: Vec<u8>, names: Value) {
        let mut entry = self.blob(MANIFEST, manifest);
        entry["annotations"] = names;
        self.manifests.push(entry);
    }

    /// Adds everything in a layout of its own; its tags become tags of this repository.
    pub(crate) fn add_archive(&mut self, archive: &Path, repository: &str) -> Result<()> {
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

    /// The manifests by their names.
    pub(crate) fn named(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let find = |entry: &Value| {
            let name =
                entry["annotations"][REF_NAME].as_str().context("a manifest without name")?;
            let digest = entry["digest"].as_str().unwrap_or_default();
            let digest =
                digest.strip_prefix(SHA256).with_context(|| format!("{name}: no digest"))?;
            let blob = self.tree.entries.get(&path(digest)).map(|entry| &entry.kind);
            let Some(Kind::File(blob)) = blob else { bail!("{name}: its manifest is missing") };
            Ok((name.to_owned(), blob.read()?))
        };
        self.manifests.iter().map(find).collect()
    }

    /// Adds a blob; returns its descriptor.
    pub(crate) fn blob(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let digest = sum::digest_of_bytes(&bytes);
        let descriptor = descriptor(kind, &digest, bytes.len() as u64);
        self.tree.write(&path(&digest), bytes);
        descriptor
    }

    /// Adds a file of the build machine as a blob.
    pub(crate) fn file(&mut self, file: &Path) -> Result<()> {
        let blob = Entry::file(Blob::Host(file.to_path_buf()), 0o644);
        self.tree.insert(&path(&sum::digest(file)?), blob);
        Ok(())
    }

    /// Writes the layout; the same content gives the same bytes.
    pub(crate) fn write(mut self, output: &Path) -> Result<()> {
        self.manifests.sort_by_key(|entry| entry["annotations"][REF_NAME].to_string());
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests});
        self.tree.write("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        self.tree.write("index.json", serde_json::to_vec_pretty(&index)?);
        let file = File::create(output).with_context(|| format!("making {}", output.display()))?;
        self.tree.write_tar(BufWriter::new(file), 0)
    }
}

/// The descriptor of a file.
pub(crate) fn descriptor_of_file(kind: &str, file: &Path) -> Result<Value> {
    Ok(descriptor(kind, &sum::digest(file)?, fs::metadata(file)?.len()))
}

/// The descriptor of bytes.
pub(crate) fn descriptor_of_bytes(kind: &str, bytes: &[u8]) -> Value {
    descriptor(kind, &sum::digest_of_bytes(bytes), bytes.len() as u64)
}

/// <https://github.com/opencontainers/image-spec/blob/main/descriptor.md>
fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": kind, "digest": prefixed(digest), "size": size})
}

fn prefixed(digest: &str) -> String {
    format!("{SHA256}{digest}")
}

/// Where a layout has a blob.
fn path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

/// An entry of an index as that of another one. A tag may have a repository before it already.
fn renamed(entry: &Value, repository: &str) -> Value {
    let mut entry = entry.clone();
    let old = entry["annotations"][REF_NAME].as_str().unwrap_or_default();
    let tag = old.rsplit_once(':').map_or(old, |(_, tag)| tag);
    entry["annotations"] = json!({REF_NAME: format!("{repository}:{tag}")});
    entry
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
            let annotations = json!({REF_NAME: tag, "io.containerd.image.name": "x"});
            layout.add_manifest(tag.as_bytes().to_vec(), annotations);
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
    fn an_image_names_its_layers_by_what_is_in_them() {
        let mut tree = Tree::default();
        tree.write("etc/hostname", "corral\n");
        let image = Image {
            layers: &[&tree],
            epoch: 1,
            level: 3,
            config: json!({"Labels": {}}),
            annotations: json!({}),
        };
        let mut layout = Layout::default();
        layout.add_image(&image, json!({REF_NAME: "one"})).unwrap();
        let read = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
            let entry = layout.tree.entries.get(&path(digest)).unwrap();
            let crate::tree::Kind::File(blob) = &entry.kind else { panic!("no file") };
            blob.read().unwrap()
        };
        let manifest: Value = serde_json::from_slice(&read(&layout.manifests[0])).unwrap();
        let config: Value = serde_json::from_slice(&read(&manifest["config"])).unwrap();
        let files = zstd::decode_all(read(&manifest["layers"][0]).as_slice()).unwrap();
        let digest = prefixed(&sum::digest_of_bytes(&files));
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest]));
    }
}
