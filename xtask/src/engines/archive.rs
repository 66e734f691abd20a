//! An engine as an OCI image layout in a tar archive: one layer, packed by zstd.

use crate::oci_layout::{Image, LOADED_NAME, Layout, REF_NAME, VERSION_LABEL};
use crate::recipe::Recipe;
use crate::tree::Tree;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::path::Path;

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
    let labels = json!({
        ENGINE_LABEL: about.name,
        VERSION_LABEL: about.version,
        "org.opencontainers.image.title": about.name,
        "org.opencontainers.image.description": about.recipe.about,
    });
    let image = Image {
        layers: &[tree],
        epoch: 0,
        level: LEVEL,
        config: json!({"Labels": labels}),
        annotations: labels,
    };
    let loaded = format!("corral/engine:{}", about.name);
    let mut layout = Layout::default();
    layout.add_image(&image, json!({REF_NAME: about.name, LOADED_NAME: loaded}))?;
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = output.with_extension("new");
    layout.write(&fresh)?;
    fs::rename(&fresh, output).with_context(|| format!("writing {}", output.display()))
}
