//! Images inside the system image: unpacked layers, and one file that says which image stands on which of them.
//! Written by `xtask/src/image.rs`. Nothing is loaded or copied at boot.

use crate::error::EngineError;
use crate::paths;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// An embedded image.
#[derive(Debug, Clone, Deserialize)]
pub struct Embedded {
    /// `corral/os-console:0.1.0`.
    pub reference: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Bytes of its own layer.
    pub size: u64,
    /// Names of layers, lowest first.
    pub layers: Vec<String>,
    pub config: Config,
}

/// The part of an OCI image configuration that the engine acts on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
}

impl Embedded {
    /// Every embedded image, by name.
    pub fn load_all() -> Vec<Embedded> {
        let Ok(items) = fs::read_dir(Path::new(paths::EMBEDDED).join("images")) else { return Vec::new() };
        let parse = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        let mut images: Vec<Embedded> = items.flatten().filter_map(|item| parse(item.path())).collect();
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        images
    }

    /// The image of that name; without a tag, the one that there is.
    pub fn load(reference: &str) -> Result<Embedded, EngineError> {
        let matches = |image: &Embedded| {
            image.reference == reference || image.name() == reference || image.id() == reference
        };
        let found = Embedded::load_all().into_iter().find(matches);
        found.ok_or_else(|| EngineError::NoSuchImage(reference.to_owned()))
    }

    /// The reference without its tag.
    pub fn name(&self) -> &str {
        self.reference.split(':').next().unwrap_or(&self.reference)
    }

    /// A stable id, in the form that Docker's clients expect. Embedded images have no digest of their own: the system
    /// image as a whole is what is signed.
    pub fn id(&self) -> String {
        let mut hash: [u64; 4] =
            [0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15, 0x8422_2325_cbf2_9ce4, 0x7f4a_7c15_9e37_79b9];
        for (index, byte) in self.reference.bytes().enumerate() {
            let lane = &mut hash[index % 4];
            *lane = (*lane ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let hex: Vec<String> = hash.iter().map(|lane| format!("{lane:016x}")).collect();
        format!("sha256:{}", hex.concat())
    }

    /// The folders of its layers, uppermost first, as overlayfs wants them.
    pub fn lower_folders(&self) -> Vec<PathBuf> {
        self.layers.iter().rev().map(|name| Path::new(paths::EMBEDDED).join("layers").join(name)).collect()
    }
}
