//! `cargo xtask engines`: replacement engines for the user's Docker, as image archives below
//! `target/engines`. Recipes are `images/engines/NAME.yml`.
//!
//! An engine runs in the file system of a console, which may have another C library or none. So its
//! programs are started by a loader of its own, which looks for libraries in the engine's folder
//! only.

mod archive;

use crate::lock::Building;
use crate::packages::{self, Package, Request, Versions};
use crate::private_loader::OF_ENGINES;
use crate::recipe::{self, Recipe};
use crate::tree::{Blob, Entry, Kind, Tree};
use crate::{layers, manifest, paths, progress, setup, signed_release};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The folder of an engine in its image. It is mounted at `MOUNT` where dockerd runs.
const FOLDER: &str = "engine";
const MOUNT: &str = "run/corral/engine";
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Its repository in the registry of a release.
pub(crate) const REPOSITORY: &str = "corral-engine";

/// The engines that stories switch to (tests/scenarios/engines.rs).
const IN_STORIES: [&str; 3] = ["docker-20.10", "docker-28.5", "podman"];

/// To be raised with each change of how an archive is written.
const FORMAT: u32 = 4;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask engines               all of them
  cargo xtask engines docker-28.5   then on the machine: ros engine switch FILE")]
pub(crate) struct Options {
    /// Names of recipes in images/engines; without one: all
    names: Vec<String>,
    /// Debian mirror to use instead of the host's own
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Take the newest packages that the mirror has into packages.lock, and show what changes
    #[arg(long)]
    refresh: bool,
}

/// Builds the named engines, or all, and prints their sizes.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    let _building = Building::begin()?;
    let recipes = recipe::engines()?;
    if let Some(name) =
        options.names.iter().find(|name| !recipes.iter().any(|(known, _)| known == *name))
    {
        bail!("there is no images/engines/{name}.yml");
    }
    let chosen =
        recipes.iter().filter(|(name, _)| options.names.is_empty() || options.names.contains(name));
    let mirror = options.mirror.as_deref();
    let how = How { mirror, versions: Versions::listed_unless(options.refresh) };
    for (name, recipe) in chosen {
        let file = build(name, recipe, how)?;
        let megabytes = fs::metadata(&file)?.len() as f64 / 1e6;
        progress::say(&format!("{megabytes:>9.2} MB  {}", file.display()))?;
    }
    Ok(())
}

/// Where packages come from, and which versions.
#[derive(Debug, Clone, Copy)]
struct How<'a> {
    mirror: Option<&'a str>,
    versions: Versions,
}

/// Stories try engines: newer packages are better than none.
const OF_STORIES: How<'static> = How { mirror: None, versions: Versions::Available };

/// A built engine, or another image that a release has apart from the system image.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: String,
    /// Its repository in the registry of a release.
    pub(crate) repository: &'static str,
    pub(crate) archive: PathBuf,
    /// The release of Debian that its packages are from.
    pub(crate) suite: String,
    /// The packages of which it has something.
    pub(crate) packages: Vec<Package>,
    /// The same with all dependencies.
    pub(crate) fetched: Vec<Package>,
}

/// Builds all of them.
pub(crate) fn build_all(mirror: Option<&str>) -> Result<Vec<Engine>> {
    let how = How { mirror, versions: Versions::Listed };
    let recipes = recipe::engines()?;
    recipes
        .into_iter()
        .map(|(name, recipe)| {
            let archive = build(&name, &recipe, how)?;
            let fetched = fetch(&name, &recipe, how)?;
            let tree = layers::alone(&format!("engines/{name}"), &recipe, &fetched)?;
            let packages = manifest::shipped(&[&tree], &fetched).into_iter().cloned().collect();
            let suite = suite(&recipe).to_owned();
            Ok(Engine { name, repository: REPOSITORY, archive, suite, packages, fetched })
        })
        .collect()
}

/// Builds those that stories switch to, unless they are there. Without their packages this takes
/// longer than a minute, and needs a mirror.
pub(crate) fn prepare() -> Result<()> {
    let recipes = recipe::engines()?;
    let is_used = |name: &String| IN_STORIES.contains(&name.as_str());
    recipes.iter().filter(|(name, _)| is_used(name)).try_for_each(|(name, recipe)| {
        signed_release::write_for_registry(&build(name, recipe, OF_STORIES)?, REPOSITORY)
    })
}

/// Names, what they are, and versions by `packages.lock`: for `ros engine list`.
pub(crate) fn list() -> Result<Vec<Value>> {
    let describe = |(name, recipe): (String, Recipe)| {
        let how = How { mirror: None, versions: Versions::Listed };
        let list = format!("engine {name}");
        let wanted = recipe.packages.iter().cloned().collect();
        let listed = request(&list, &recipe, &wanted, how).listed()?;
        let version = listed.map(|packages| layers::version(&recipe, &packages)).transpose()?;
        Ok(json!({"name": name, "about": recipe.about, "version": version.flatten()}))
    };
    recipe::engines()?.into_iter().map(describe).collect()
}

/// Writes the archive of an engine, unless it is made of the same already.
fn build(name: &str, recipe: &Recipe, how: How<'_>) -> Result<PathBuf> {
    let packages = fetch(name, recipe, how)?;
    let version = layers::version(recipe, &packages)?.context("the recipe has no `version`")?;
    // A rolling release moves on, and the name must stay true.
    let promised = name.split_once('-').map_or("", |(_, version)| version);
    ensure!(
        version.starts_with(promised),
        "images/engines/{name}.yml: {} has version {version} now; rename the recipe",
        suite(recipe)
    );
    let target = paths::target().join("engines").join(format!("{name}.tar"));
    let stamp = stamp(name, recipe, &packages)?;
    let stamp_file = paths::cache("engines").join(format!("{name}.stamp"));
    if target.exists() && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(target);
    }
    let _ = fs::remove_file(&stamp_file);
    progress::step(&format!("writing {}", target.display()), || {
        let tree = relocate(&layers::alone(&format!("engines/{name}"), recipe, &packages)?)?;
        archive::write(&tree, &archive::About { name, recipe, version: &version }, &target)
    })?;
    fs::create_dir_all(paths::cache("engines"))?;
    fs::write(stamp_file, stamp)?;
    Ok(target)
}

fn suite(recipe: &Recipe) -> &str {
    recipe.suite.as_deref().unwrap_or(packages::SUITE)
}

fn fetch(name: &str, recipe: &Recipe, how: How<'_>) -> Result<Vec<Package>> {
    let wanted = recipe.packages.iter().cloned().collect();
    request(&format!("engine {name}"), recipe, &wanted, how).fetch()
}

fn request<'a>(
    name: &'a str,
    recipe: &'a Recipe,
    wanted: &'a BTreeSet<String>,
    how: How<'a>,
) -> Request<'a> {
    let How { mirror, versions } = how;
    Request { name, suite: suite(recipe), wanted, mirror, versions }
}

/// Fetches the packages of all of them. Returns how many there are.
pub(crate) fn fetch_all(mirror: Option<&str>, versions: Versions) -> Result<usize> {
    let how = How { mirror, versions };
    let recipes = recipe::engines()?;
    let count = |(name, recipe): &(String, Recipe)| Ok(fetch(name, recipe, how)?.len());
    recipes.iter().map(count).sum()
}

/// A hash over all that an archive is made of.
fn stamp(name: &str, recipe: &Recipe, packages: &[Package]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{FORMAT} {recipe:?} {packages:?}"));
    let own = paths::root().join("images/engines").join(name);
    for (path, entry) in if own.exists() { crate::tree::read_folder(&own)? } else { Vec::new() } {
        hash.update(path);
        if let Kind::File(blob) = entry.kind {
            hash.update(blob.read()?);
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// All programs in one folder, libraries in another, the rest in a third: as an engine is mounted.
fn relocate(tree: &Tree) -> Result<Tree> {
    let mut engine = Tree::default();
    for (path, entry) in &tree.entries {
        let name = path.rsplit('/').next().unwrap_or_default();
        let place = match &entry.kind {
            Kind::Directory => continue,
            _ if name == LOADER => continue,
            _ if path.starts_with("usr/lib/x86_64-linux-gnu/") => format!("{FOLDER}/so/{name}"),
            _ if entry.mode & 0o111 != 0 => format!("{FOLDER}/{name}"),
            _ => format!("{FOLDER}/etc/{name}"),
        };
        engine.insert(&place, with_own_loader(entry).with_context(|| format!("changing {path}"))?);
    }
    let loader = tree.entries.get(&format!("usr/lib/x86_64-linux-gnu/{LOADER}"));
    let Some(Entry { kind: Kind::File(blob), .. }) = loader else { bail!("there is no {LOADER}") };
    let bytes = OF_ENGINES.of_debians(blob.read()?)?;
    engine.insert(&format!("{FOLDER}/so/ld"), Entry::file(Blob::Bytes(bytes), 0o755));
    // So that the programs also run in a container of the image, where they are checked.
    engine.insert(MOUNT, Entry::symlink(&format!("/{FOLDER}")));
    Ok(engine)
}

fn with_own_loader(entry: &Entry) -> Result<Entry> {
    let Kind::File(blob) = &entry.kind else { return Ok(entry.clone()) };
    let mut bytes = blob.read()?;
    OF_ENGINES.start(&mut bytes)?;
    Ok(Entry { kind: Kind::File(Blob::Bytes(bytes)), ..entry.clone() })
}
