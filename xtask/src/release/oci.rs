//! The images of the system that entries of the catalogue run, for registries:
//! `corral-os-open-iscsi:1.2.3`.

use crate::layers::Layer;
use crate::oci_layout::{Image, Layout, REF_NAME, VERSION_LABEL};
use crate::tree::Tree;
use crate::{image, paths};
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;

const LEVEL: i32 = 12;

/// Adds an image of the system, with the layers that it stands on.
pub(super) fn add_image(
    layout: &mut Layout,
    layer: &Layer,
    all: &[Layer],
    epoch: u64,
) -> Result<()> {
    let tree = |name: &String| -> Result<&Tree> {
        let below = all.iter().find(|layer| &layer.name == name);
        Ok(&below.with_context(|| format!("there is no layer {name}"))?.tree)
    };
    let layers: Vec<&Tree> = layer.stack.iter().map(tree).collect::<Result<_>>()?;
    let image = Image {
        layers: &layers,
        epoch,
        level: LEVEL,
        config: image::oci_config(layer),
        annotations: json!({
            "org.opencontainers.image.title": layer.name,
            "org.opencontainers.image.description": layer.recipe.about,
            VERSION_LABEL: image::VERSION,
        }),
    };
    let name = format!("corral-os-{}:{}", layer.name, image::VERSION);
    layout.add_image(&image, json!({REF_NAME: name}))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_runs_images_that_have_recipes() {
        let names = names_in_catalogue().unwrap();
        assert!(names.contains("open-iscsi"), "{names:?}");
        for name in names {
            assert!(paths::root().join("images").join(&name).join("image.yml").exists(), "{name}");
        }
    }
}
