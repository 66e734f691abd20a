//! `images/docker/lean/recipe.yml`, as types. An unknown key is an error.

use crate::paths;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The source whose version is that of the engine.
pub(super) const VERSION_OF: &str = "docker.io";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// The release of Debian that the sources come from.
    pub(super) suite: String,
    /// The package of the compiler: `golang-1.26-go`.
    pub(super) go: String,
    /// Packages with sources.
    pub(super) packages: BTreeSet<String>,
    pub(super) sources: Vec<Source>,
    /// Main packages that become packages of these names, with a function `Main`.
    pub(super) mains: BTreeMap<String, String>,
    /// Variables that get the version of a package or a source, as its authors call it.
    pub(super) versions: BTreeMap<String, String>,
    /// The same for Debian's version.
    pub(super) full_versions: BTreeMap<String, String>,
    /// Variables that get the time of a source package's version.
    pub(super) times: BTreeMap<String, String>,
    /// Packages with methods that templates call by name, and their names; none are all.
    pub(super) methods: BTreeMap<String, BTreeSet<String>>,
    /// Patterns of packages whose functions are inlined; those of others are not.
    pub(super) inlined: Vec<String>,
    pub(super) programs: Vec<Program>,
}

/// A source package of Debian's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) name: String,
    /// Ends of the names of its files, in the order in which they are unpacked.
    pub(super) files: Vec<String>,
    /// Folders to which Debian's patches are applied; none are all.
    #[serde(default)]
    pub(super) changed: Vec<String>,
    /// Folders, and where they are put in the tree of sources.
    pub(super) folders: Vec<(String, String)>,
    /// A folder with packages that are used where the tree has none.
    pub(super) otherwise: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    /// Its main package.
    pub(super) main: String,
    pub(super) tags: Vec<String>,
    /// Does it need a C compiler?
    #[serde(default)]
    pub(super) cgo: bool,
    /// Its paths in the image, each with the arguments of a first start that must succeed.
    pub(super) names: BTreeMap<String, Vec<String>>,
}

impl Recipe {
    pub(super) fn load() -> Result<Recipe> {
        let path = folder().join("recipe.yml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        corral_config::yaml::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}:{error}", path.display()))
    }
}

pub(super) fn folder() -> PathBuf {
    paths::root().join("images/docker/lean")
}

/// The folders with patches: of the sources, and of Go's library.
pub(super) const OF_SOURCES: &str = "patches";
pub(super) const OF_LIBRARY: &str = "library";

/// The patches of a folder, in the order in which they are applied.
pub(super) fn patches(of: &str) -> Result<Vec<PathBuf>> {
    let is_patch =
        |path: &Path| path.starts_with(of) && path.extension().is_some_and(|e| e == "patch");
    Ok(files()?.into_iter().filter(|(path, _)| is_patch(Path::new(path))).map(|(_, f)| f).collect())
}

/// The files that a build reads, by their paths in the folder: all but the page about them.
pub(super) fn files() -> Result<BTreeMap<String, PathBuf>> {
    let entries = crate::tree::read_folder(&folder())?;
    let files = entries.into_iter().map(|(path, _)| (path.clone(), folder().join(path)));
    let is_read = |path: &str, file: &Path| file.is_file() && !path.ends_with(".md");
    Ok(files.filter(|(path, file)| is_read(path, file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_replaces_every_program_of_docker() {
        let recipe = Recipe::load().unwrap();
        let made: BTreeSet<&String> =
            recipe.programs.iter().flat_map(|program| program.names.keys()).collect();
        let stock = crate::recipe::load("docker").unwrap();
        let kept: Vec<&String> = stock.files.iter().filter(|file| !made.contains(file)).collect();
        assert_eq!(kept, ["/usr/bin/tini-static"]);
        assert!(made.iter().all(|name| stock.files.contains(name)), "{made:?}");
        assert!(!patches(OF_SOURCES).unwrap().is_empty());
        assert!(!patches(OF_LIBRARY).unwrap().is_empty());
    }

    #[test]
    fn every_version_is_that_of_something_fetched() {
        let recipe = Recipe::load().unwrap();
        let sources: Vec<&String> = recipe.sources.iter().map(|source| &source.name).collect();
        for name in recipe.versions.values().chain(recipe.full_versions.values()) {
            assert!(recipe.packages.contains(name) || sources.contains(&name), "{name}");
        }
        assert!(sources.iter().any(|name| *name == VERSION_OF));
    }
}
