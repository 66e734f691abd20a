//! Images inside the system image: unpacked layers, and one file for each image that names its
//! layers. Written by `xtask/src/image.rs`. Nothing is loaded or copied at boot.

use super::digest::digest;
use super::metadata::{Config, Image, Tier};
use crate::paths;
use crate::time;
use serde::Deserialize;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file of an embedded image.
#[derive(Debug, Clone, Deserialize)]
struct Embedded {
    /// `corral/os-console:0.1.0`.
    reference: String,
    /// Seconds since 1970.
    created: u64,
    /// Bytes of its own layer.
    size: u64,
    /// Names of layers, lowest first.
    layers: Vec<String>,
    config: Config,
}

/// Every embedded image, by name.
pub(super) fn load_all() -> Vec<Image> {
    let Ok(items) = fs::read_dir(Path::new(paths::EMBEDDED).join("images")) else {
        return Vec::new();
    };
    let parse = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
    let mut images: Vec<Embedded> = items.flatten().filter_map(|item| parse(item.path())).collect();
    images.sort_by(|a, b| a.reference.cmp(&b.reference));
    images.into_iter().map(Embedded::into_image).collect()
}

/// The image of that name; without a tag, the one that there is.
pub(super) fn find(name: &str) -> Option<Image> {
    load_all().into_iter().find(|image| {
        let own = image.references.first().map(String::as_str).unwrap_or_default();
        image.id == name
            || own == name
            || own.rsplit_once(':').is_some_and(|(bare, _)| bare == name)
    })
}

impl Embedded {
    fn into_image(self) -> Image {
        let id = self.id();
        let folder = |name: &String| Path::new(paths::EMBEDDED).join("layers").join(name);
        let created = time::rfc3339(Duration::from_secs(self.created));
        Image {
            raw: json!({
                "architecture": "amd64", "os": "linux", "created": created,
                "config": self.config, "rootfs": {"type": "layers", "diff_ids": self.layers},
                "history": [{
                    "created": created, "created_by": "cargo xtask image",
                    "comment": "part of the system image",
                }],
            }),
            id,
            references: vec![self.reference],
            digests: Vec::new(),
            created,
            size: self.size,
            lower: self.layers.iter().rev().map(folder).collect(),
            config: self.config,
            tier: Tier::Embedded,
        }
    }

    /// A stable id, in the form that Docker's clients expect. Embedded images have no digest of
    /// their own: the signature is of the complete system image.
    fn id(&self) -> String {
        digest(format!("{} {} {:?}", self.reference, self.created, self.layers).as_bytes())
    }
}
