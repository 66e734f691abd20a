//! The recipes in `images/*/image.yml` and `images/modules.yml`, as types. An unknown key is an
//! error.

use crate::paths;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A system image: which files of which packages, on top of which other image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// What it is for; shown in the manifest.
    pub(crate) about: String,
    /// The image below this one.
    pub(crate) from: Option<String>,
    /// The release of Debian that the packages of an engine come from. All else is from one.
    pub(crate) suite: Option<String>,
    /// The package whose version is that of the image; a label of it.
    pub(crate) version: Option<String>,
    /// Debian packages whose files may be taken.
    #[serde(default)]
    pub(crate) packages: Vec<String>,
    /// Patterns of paths to include; `**` is everything below. Shared libraries are added
    /// automatically.
    #[serde(default)]
    pub(crate) files: Vec<String>,
    /// Patterns of paths to leave out again.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// Libraries that programs link and never use here: without their code, and without the
    /// libraries that they need.
    #[serde(default)]
    pub(crate) stubs: Vec<String>,
    /// Put a link to busybox for each of its applets that nothing else provides.
    #[serde(default)]
    pub(crate) busybox: bool,
    /// Add the loader that the programs of all images start with.
    #[serde(default)]
    pub(crate) loader: bool,
    /// Make the certificate bundle that programs read, from the single certificates among the
    /// files.
    #[serde(default)]
    pub(crate) certificates: bool,
    /// Links to make: path → target.
    #[serde(default)]
    pub(crate) links: BTreeMap<String, String>,
    /// Folders to make: path → octal mode.
    #[serde(default)]
    pub(crate) folders: BTreeMap<String, String>,
    /// Modes that differ from the package's: path → octal mode.
    #[serde(default)]
    pub(crate) modes: BTreeMap<String, String>,
    /// Entrypoint, command and environment, as in OCI.
    #[serde(default)]
    pub(crate) config: ImageConfig,
}

/// The part of an OCI image configuration that a recipe sets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default)]
    pub(crate) cmd: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<String>,
}

/// What a console of another image gets from ours.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Elsewhere {
    /// Paths of programs; their libraries are added automatically.
    pub(crate) programs: Vec<String>,
    /// Patterns of paths of libraries that programs open by name.
    pub(crate) plugins: Vec<String>,
    /// Links to make: path below the folder → target.
    pub(crate) links: BTreeMap<String, String>,
    /// Paths of other files, kept as they are.
    pub(crate) copies: Vec<String>,
    /// Files of our own: path below the folder → text.
    pub(crate) files: BTreeMap<String, String>,
}

/// Which kernel modules the image has, besides their dependencies.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModuleList {
    /// The package of the kernel.
    pub(crate) kernel: String,
    /// Modules of the initrd: enough to find the disk with the system image.
    pub(crate) initrd: Vec<String>,
    /// Modules of the system image: names, or patterns of paths below `kernel/`.
    pub(crate) system: Vec<String>,
    /// Patterns of paths that are left out of the above.
    pub(crate) exclude: Vec<String>,
    /// Names of modules of the above that our own kernel does not have.
    pub(crate) lost: BTreeSet<String>,
    /// What drivers.erofs has.
    pub(crate) drivers: DriverList,
}

/// The second tier of modules, and firmware.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DriverList {
    /// Patterns; modules of the system image are not taken again.
    pub(crate) modules: Vec<String>,
    /// Patterns of paths that are left out of them.
    pub(crate) exclude: Vec<String>,
    /// Modules of the second initrd, which finds a disk behind any controller.
    pub(crate) initrd: Vec<String>,
    /// Patterns of paths that are left out of it.
    pub(crate) not_in_initrd: Vec<String>,
    /// Modules that a device without a driver is reported for.
    pub(crate) reported: Vec<String>,
    /// Packages with firmware.
    pub(crate) firmware: Vec<String>,
}

/// Reads `images/NAME/image.yml`.
pub(crate) fn load(name: &str) -> Result<Recipe> {
    parse(&paths::root().join("images").join(name).join("image.yml"))
}

/// The replacement engines: `images/engines/NAME.yml`.
pub(crate) fn engines() -> Result<Vec<(String, Recipe)>> {
    let mut recipes = Vec::new();
    for item in fs::read_dir(paths::root().join("images/engines"))? {
        let path = item?.path();
        if let (Some("yml"), Some(name)) = (
            path.extension().and_then(|extension| extension.to_str()),
            path.file_stem().and_then(|name| name.to_str()),
        ) {
            recipes.push((name.to_owned(), parse(&path)?));
        }
    }
    recipes.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(recipes)
}

/// Reads `images/modules.yml`.
pub(crate) fn load_modules() -> Result<ModuleList> {
    parse(&paths::root().join("images/modules.yml"))
}

/// Reads `images/console/elsewhere.yml`.
pub(crate) fn load_elsewhere() -> Result<Elsewhere> {
    parse(&paths::root().join("images/console/elsewhere.yml"))
}

/// Every image that has a recipe, by name.
pub(crate) fn all() -> Result<Vec<(String, Recipe)>> {
    let mut recipes = Vec::new();
    for item in fs::read_dir(paths::root().join("images"))? {
        let path = item?.path();
        if path.join("image.yml").exists() {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .context("an image name that is not UTF-8")?;
            recipes.push((name.to_owned(), load(name)?));
        }
    }
    recipes.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(recipes)
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    corral_config::yaml::from_str(&text)
        .map_err(|error| anyhow::anyhow!("{}:{error}", path.display()))
}
