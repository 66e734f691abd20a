//! The Docker of a release: Debian's sources of it, built as a few static programs after
//! `images/docker/lean/recipe.yml`, with the patches beside it. It is built once for all checkouts
//! of this machine, and found by the hash of its inputs: sources, recipe, patches and compilers.
//!
//! Which of the sources are linked is known after a build only. So a result records them, and a
//! newer version of any other package does not lead to another build.

mod compile;
mod licences;
mod methods;
mod recipe;
mod sources;

use crate::layers::Layer;
use crate::lock::Building;
use crate::packages::{self, Package, Request, Versions};
use crate::recipe::Recipe as ImageRecipe;
use crate::setup::{self, Need, need};
use crate::sum::{self, Sum};
use crate::tree::{Blob, Entry};
use crate::{durable, paths, progress, sh};
use anyhow::{Context, Result};
use clap::Args;
use recipe::Recipe;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sources::Sources;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Incremented when the steps of a build change.
const STEPS: u32 = 5;
/// The image that it is part of.
const IMAGE: &str = "docker";
const NEEDS: [Need; 4] = [
    need("gcc", "building runc", "/usr/bin/gcc"),
    need("libc6-dev", "building runc", "/usr/lib/x86_64-linux-gnu/libc.a"),
    need("libseccomp-dev", "building runc", "/usr/lib/x86_64-linux-gnu/libseccomp.a"),
    need("pkgconf", "building runc", "/usr/bin/pkg-config"),
];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Debian mirror to use instead of the host's own
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Take the newest sources that the mirror has into packages.lock, and build again if one of
    /// them is linked
    #[arg(long)]
    refresh: bool,
}

/// The built programs.
#[derive(Debug)]
pub(crate) struct LeanEngine {
    /// Paths in the image, with a leading slash; below `files` they are on this machine.
    names: Vec<String>,
    files: PathBuf,
    built: Built,
}

/// What a build records about itself.
#[derive(Debug, Serialize, Deserialize)]
struct Built {
    /// Docker's, without what Debian adds.
    version: String,
    /// The hash of what follows and of the recipe: the folder of the result.
    key: String,
    /// The sources that are linked, and the compiler.
    packages: Vec<Package>,
    /// Every file of the result, by its path in the folder.
    files: BTreeMap<String, Sum>,
}

/// Builds the programs and prints their sizes.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    let _building = Building::begin()?;
    let engine = prepare(options.mirror.as_deref(), options.refresh)?;
    for name in &engine.names {
        let file = engine.file(name);
        let megabytes = fs::metadata(&file)?.len() as f64 / 1e6;
        progress::say(&format!("{megabytes:>9.2} MB  {}", file.display()))?;
    }
    Ok(())
}

/// The programs, built if they are not there. The mirror is contacted for a first build, or with
/// `refresh`.
pub(crate) fn prepare(mirror: Option<&str>, refresh: bool) -> Result<LeanEngine> {
    let recipe = Recipe::load()?;
    let compiler = fetch_compiler(&recipe, mirror, refresh)?;
    setup::install_missing(&NEEDS)?;
    let recipe_key = recipe_key(&compiler)?;
    let folder = paths::shared_cache("lean-engine");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // A second build at the same time waits here, and then finds the programs built.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("waiting for another build of Docker")?;
    let last = folder.join(format!("{recipe_key}.json"));
    let known = durable::load_record(&last).filter(|built: &Built| built.is_complete(&folder));
    let sources = match &known {
        Some(built) if !refresh && is_of_list(&recipe, built)? => None,
        _ => Some(Sources::fetch(&recipe, mirror, refresh)?),
    };
    let is_newest = |built: &Built| sources.as_ref().is_none_or(|all| all.have(&built.packages));
    if let Some(built) = known.filter(is_newest) {
        return Ok(LeanEngine::of(&recipe, &folder, built));
    }
    let sources = sources.context("no sources were fetched")?;
    let work = folder.join("build");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let built = progress::step("building Docker from its sources (minutes, once)", || {
        build(&recipe, &recipe_key, &sources, &compiler, &work)
    })
    .context("images/docker/lean")?;
    let target = folder.join(&built.key);
    let _ = fs::remove_dir_all(&target);
    durable::rename(&work.join("made"), &target).context("keeping Docker")?;
    durable::write(&last, &serde_json::to_vec_pretty(&built)?)?;
    fs::remove_dir_all(&work)?;
    Ok(LeanEngine::of(&recipe, &folder, built))
}

/// Is a result made of the sources in `packages.lock`? Without any there, it is taken as it is.
fn is_of_list(recipe: &Recipe, built: &Built) -> Result<bool> {
    let listed = Sources::listed(recipe)?;
    if listed.is_none() {
        eprintln!(
            "warning: packages.lock does not have the sources of Docker, so another machine may \
             build another one: run `cargo xtask lean-engine --refresh`"
        );
    }
    Ok(listed.is_none_or(|sources| sources.have(&built.packages)))
}

fn fetch_compiler(recipe: &Recipe, mirror: Option<&str>, refresh: bool) -> Result<Vec<Package>> {
    let wanted = &[recipe.go.clone()].into();
    let suite = packages::SUITE;
    let versions = Versions::listed_unless(refresh);
    let request = Request { name: "docker compiler", suite, wanted, mirror, versions };
    let mut packages = request.fetch()?;
    packages.retain(|package| package.name.starts_with("golang-"));
    Ok(packages)
}

/// Fetches the compiler and the sources. Returns how many packages they are.
pub(crate) fn fetch(mirror: Option<&str>, refresh: bool) -> Result<usize> {
    let recipe = Recipe::load()?;
    let compiler = fetch_compiler(&recipe, mirror, refresh)?;
    Ok(compiler.len() + Sources::fetch(&recipe, mirror, refresh)?.count())
}

/// The folder with the licence of each package of a result, by its SHA-256.
pub(crate) fn licences(key: &str) -> PathBuf {
    paths::shared_cache("lean-engine").join(key).join(licences::FOLDER)
}

/// The release of Debian that has a package which is linked into Docker. The compiler, whose
/// library is linked too, is of the image's own.
pub(crate) fn suite_of(package: &Package) -> Result<String> {
    let recipe = Recipe::load()?;
    let is_compiler = package.name.starts_with(recipe.go.trim_end_matches("go"));
    Ok(if is_compiler { packages::SUITE.to_owned() } else { recipe.suite })
}

/// A hash over all inputs but the sources.
fn recipe_key(compiler: &[Package]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{STEPS} {compiler:?}"));
    hash.update(of_host()?);
    for (path, file) in recipe::files()? {
        hash.update(path);
        hash.update(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(hex::encode(hash.finalize())[..16].to_owned())
}

/// The packages of this machine that runc is built with, and their versions.
fn of_host() -> Result<String> {
    // gcc's own package is a name for that of its version.
    let version = sh::output(Command::new("/usr/bin/gcc").arg("-dumpversion"))?;
    let version = version.trim();
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${Version}\n", "binutils"]);
    query.args(NEEDS.iter().map(|need| need.package));
    query.args([format!("gcc-{version}"), format!("libgcc-{version}-dev")]);
    sh::output(&mut query).context("finding the versions of the C compiler and its libraries")
}

/// Leaves the programs in `work/made`.
fn build(
    recipe: &Recipe,
    recipe_key: &str,
    sources: &Sources,
    compiler: &[Package],
    work: &Path,
) -> Result<Built> {
    let tree = sources.unpack(recipe, work)?;
    let go = compile::Go::unpack(recipe, compiler, sources, work)?;
    let mut names = BTreeSet::new();
    for program in &recipe.programs {
        go.build(program).with_context(|| format!("building {}", program.main))?;
        names.extend(tree.owners(&go.folders(program)?));
    }
    let mut packages = sources.named(&names);
    packages.extend(compiler.iter().cloned());
    let key = sum::digest_of_bytes(format!("{recipe_key} {packages:?}"))[..16].to_owned();
    licences::keep(&packages, work)?;
    let version = sources.version(recipe::VERSION_OF)?;
    Ok(Built { version, key, packages, files: sync(&work.join("made"))? })
}

/// Waits until a folder is on the disk; returns its files.
fn sync(folder: &Path) -> Result<BTreeMap<String, Sum>> {
    let mut files = BTreeMap::new();
    for (path, _) in crate::tree::read_folder(folder)? {
        let file = folder.join(&path);
        durable::sync(&file)?;
        if file.is_file() {
            files.insert(path, Sum::of(&file)?);
        }
    }
    durable::sync(folder)?;
    Ok(files)
}

impl Built {
    /// Is the result what the build has made? A power cut, or a cleaned cache, may have left less.
    fn is_complete(&self, folder: &Path) -> bool {
        let made = folder.join(&self.key);
        self.files.iter().all(|(path, sum)| sum.is_of(&made.join(path)))
    }
}

impl LeanEngine {
    fn of(recipe: &Recipe, folder: &Path, built: Built) -> LeanEngine {
        let names = recipe.programs.iter().flat_map(|program| program.names.keys().cloned());
        LeanEngine { names: names.collect(), files: folder.join(&built.key), built }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.join(name.trim_start_matches('/'))
    }

    /// What it was built from, as a hash.
    pub(crate) fn key(&self) -> &str {
        &self.built.key
    }

    /// The sources that are linked, and the compiler.
    pub(crate) fn packages(&self) -> &[Package] {
        &self.built.packages
    }

    /// Takes what it replaces out of the recipe of its image: programs of packages, and with them
    /// the libraries that these need.
    pub(crate) fn trim(&self, recipes: &mut [(String, ImageRecipe)]) {
        for (_, recipe) in recipes.iter_mut().filter(|(name, _)| name == IMAGE) {
            recipe.files.retain(|file| !self.names.contains(file));
        }
    }

    /// Puts the programs into the layer of their image.
    pub(crate) fn insert(&self, layers: &mut [Layer]) -> Result<()> {
        let layer = layers.iter_mut().find(|layer| layer.name == IMAGE);
        let layer = layer.with_context(|| format!("there is no image {IMAGE}"))?;
        for name in &self.names {
            layer.tree.insert(name, Entry::file(Blob::Host(self.file(name)), 0o755));
        }
        layer.version = Some(self.built.version.clone());
        Ok(())
    }
}
