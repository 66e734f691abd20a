//! `cargo xtask image`: from recipes, packages and our programs to the files that boot.

mod full;
mod kernels;
mod os_release;
mod own_kernel;
mod packages_of;
mod record;

pub(crate) use self::full::Full;
use self::kernels::Kernels;
pub(crate) use self::os_release::{epoch, os_release};
use self::own_kernel::OwnKernel;
pub(crate) use self::own_kernel::{KernelChoice, fetch_kernel_list, prepare_kernel};
pub(crate) use self::packages_of::{LIST, SECCOMP_PACKAGE, fetch_firmware, fetch_packages};
use self::record::FullRecord;
pub(crate) use self::record::{Checkout, Record};
use crate::binaries::{self, Binaries, Hooks};
use crate::drivers::{self, Drivers};
use crate::erofs::{self, Density, Packing};
use crate::layers::{self, Layer};
use crate::lean_engine::{self, LeanEngine};
use crate::licences::{self, Shipped, packed};
use crate::lock::Building;
use crate::modules::Kernel;
use crate::oci_layout::VERSION_LABEL;
use crate::packages::{self, Package, Versions};
use crate::recipe::{ModuleList, Recipe};
use crate::signed_release::{Key, Release};
use crate::sum::Sum;
use crate::tree::{Blob, Entry, Tree};
use crate::{elsewhere, engines, initrd, iso, manifest, parts, paths, progress, recipe, setup};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The default seccomp profile of containers, in Podman's package.
pub(crate) const SECCOMP_PROFILE: &str = "usr/share/containers/seccomp.json";

/// The version of Corral.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Options {
    /// Build what is released: packed densely, with Docker built from its sources. Takes minutes
    /// longer
    #[arg(long)]
    pub(crate) release: bool,
    /// Also write drivers.erofs and the ISO with it; part of what is released
    #[arg(long)]
    pub(crate) full: bool,
    /// Whose kernel the image has
    #[arg(long, value_enum, default_value_t, value_name = "WHOSE")]
    pub(crate) kernel: KernelChoice,
    /// Debian mirror to use instead of the host's own
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// Take the newest packages that the mirror has into packages.lock, and show what changes
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Key that signs the release (ed25519, PKCS#8) instead of the one that this working copy makes
    /// for itself
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_key: Option<PathBuf>,
}

/// The files of a built image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) system: PathBuf,
    pub(crate) iso: PathBuf,
    /// The release as one file, for upgrades.
    pub(crate) archive: PathBuf,
    /// What `--full` adds.
    pub(crate) full: Option<Full>,
}

/// What an image is made of, fetched and compiled.
pub(crate) struct Ingredients {
    /// No other xtask builds meanwhile.
    pub(crate) building: Building,
    recipes: Vec<(String, Recipe)>,
    modules: ModuleList,
    pub(crate) packages: Vec<Package>,
    /// The packages of firmware, for a full image.
    pub(crate) firmware: Vec<Package>,
    binaries: Binaries,
    /// Instead of Debian's programs, in a release.
    lean_engine: Option<LeanEngine>,
    /// Instead of Debian's kernel.
    own_kernel: Option<OwnKernel>,
    pub(crate) key: Key,
    /// A hash over all of it.
    pub(crate) stamp: String,
    trees: OnceCell<Trees>,
}

/// What goes into the two archives of an image.
pub(crate) struct Trees {
    kernel: Kernel,
    layers: Vec<Layer>,
    modules: Tree,
    pub(crate) system: Tree,
    pub(crate) early: Tree,
    /// The packages of which the image has something, and the sources that are in it.
    shipped: Vec<Package>,
}

/// `cargo xtask image`. What is released is full, if its kernel is Debian's.
pub(crate) fn run(options: &Options) -> Result<()> {
    let full = options.full || (options.release && options.kernel == KernelChoice::Debian);
    build(&Options { full, ..options.clone() }).map(drop)
}

/// Builds what changed since the last build.
pub(crate) fn build(options: &Options) -> Result<Image> {
    setup::install()?;
    write(&gather(options)?, options)
}

/// Is there a complete image?
pub(crate) fn is_complete() -> bool {
    Record::load().is_ok() && image_paths().is_ok_and(|image| image.iso.exists())
}

/// Writes the image, unless it was built from these ingredients.
pub(crate) fn write(ingredients: &Ingredients, options: &Options) -> Result<Image> {
    let mut image = image_paths()?;
    let drivers = options.full.then(|| ingredients.drivers(options)).transpose()?;
    let is_same = |old: &Record| {
        old.stamp == ingredients.stamp
            && image.iso.exists()
            && drivers.as_ref().is_none_or(|drivers| image.full.is_some() && old.has(drivers))
    };
    if let Some(old) = Record::load().ok().filter(is_same) {
        eprintln!("image is up to date");
        old.of_this_checkout().write()?;
        return Ok(image);
    }
    ingredients.building.replace()?;
    Record::remove();
    let Trees { kernel, layers, modules, system, early, shipped } = ingredients.trees()?;
    let packages = &ingredients.packages;
    image.full = Full::at(&paths::image(), VERSION).replace(drivers.as_ref())?;
    fs::copy(&kernel.image, &image.kernel)?;
    let (level, density) = (if options.release { 19 } else { 3 }, options.density());
    let epoch = epoch()?;
    progress::step("writing initrd", || initrd::write(early, &image.initrd, epoch, level))?;
    progress::step("writing system.erofs", || {
        let packing = Packing { label: erofs::SYSTEM, density, epoch };
        erofs::write(system, &image.system, packing, packages)
    })?;
    let mut parts = parts::of(&ingredients.binaries, layers, modules)?;
    if options.release {
        progress::step("weighing the parts of system.erofs", || {
            parts::weigh(&mut parts, packages, epoch)
        })?;
    }
    let parts: Vec<_> = parts.into_iter().map(|part| part.weight).collect();
    let mut shipped = shipped.clone();
    if options.full {
        let firmware = ingredients.sources(kernel, options).shipped_firmware()?;
        shipped.extend(firmware.into_iter().cloned());
    }
    manifest::write(&paths::image(), VERSION, &kernel.release, &shipped, &parts)?;
    let release = image.release(VERSION);
    release.sign(&ingredients.key)?;
    progress::step("writing the ISO", || iso::write(&release, None, &image.iso, packages, epoch))?;
    if let Some(full) = &image.full {
        progress::step("writing the full ISO", || {
            iso::write(&release, Some(&full.drivers), &full.iso, packages, epoch)
        })?;
    }
    release.archive(&image.archive)?;
    manifest::print(&paths::image())?;
    let full = image.full.as_ref().zip(drivers.as_ref());
    let full = full.map(|(full, drivers)| FullRecord::of(full, drivers)).transpose()?;
    Record { full, ..record(&image, ingredients, options)? }.write()?;
    Ok(image)
}

fn record(image: &Image, ingredients: &Ingredients, options: &Options) -> Result<Record> {
    Ok(Record {
        stamp: ingredients.stamp.clone(),
        release: options.release,
        checkout: Checkout::now().ok(),
        epoch: epoch()?,
        engine: ingredients.lean_engine.as_ref().map(|engine| engine.key().to_owned()),
        iso: Sum::of(&image.iso)?,
        archive: Sum::of(&image.archive)?,
        full: None,
    })
}

/// Fetches packages and compiles our programs, unless that was already done.
pub(crate) fn gather(options: &Options) -> Result<Ingredients> {
    let has_own_kernel = options.kernel == KernelChoice::Corral;
    ensure!(!has_own_kernel || !options.full, "drivers.erofs belongs to Debian's kernel");
    let building = Building::begin()?;
    let mut recipes = recipe::all()?;
    let modules = recipe::load_modules()?;
    let mirror = options.mirror.as_deref();
    let versions = match (options.refresh, options.release) {
        (true, _) => Versions::Newest,
        (false, true) => Versions::Listed,
        (false, false) => Versions::Available,
    };
    let packages = fetch_packages(mirror, versions)?;
    let firmware = match options.full {
        true => fetch_firmware(&modules, mirror, versions)?,
        false => Vec::new(),
    };
    let lean_engine =
        options.release.then(|| lean_engine::prepare(mirror, options.refresh)).transpose()?;
    if let Some(engine) = &lean_engine {
        engine.trim(&mut recipes);
    }
    let own_kernel = has_own_kernel.then(|| prepare_kernel(&packages, mirror)).transpose()?;
    let mut binaries = progress::step("building ros and stage0", || match options.release {
        true => binaries::build("release", Hooks::None),
        false => binaries::build("quick", Hooks::ForStories),
    })?;
    binaries.ros = copy_for_engine_tests(&binaries.ros, &building)?;
    let key = Key::load(options.signing_key.as_deref())?;
    let engine = lean_engine.as_ref().map_or("", LeanEngine::key);
    let own = own_kernel.as_ref().map_or("", |own| own.built.key.as_str());
    let inputs = stamp(options, &binaries, &packages)?;
    let stamp = format!("{inputs} {} {engine}{own}", key.public());
    Ok(Ingredients {
        building,
        recipes,
        modules,
        packages,
        firmware,
        binaries,
        lean_engine,
        own_kernel,
        key,
        stamp,
        trees: OnceCell::new(),
    })
}

/// `target/corral/ros`: the program in the last images, in either profile. The engine's tests run
/// it.
fn copy_for_engine_tests(ros: &Path, building: &Building) -> Result<PathBuf> {
    let kept = paths::cache("ros");
    let bytes = fs::read(ros).with_context(|| format!("reading {}", ros.display()))?;
    if !fs::read(&kept).is_ok_and(|old| old == bytes) {
        building.replace()?;
        let fresh = kept.with_extension("new");
        fs::copy(ros, &fresh)?;
        fs::rename(fresh, &kept).context("keeping ros beside the image")?;
    }
    Ok(kept)
}

impl Ingredients {
    /// The files of system.erofs and of the initrd; collected once.
    pub(crate) fn trees(&self) -> Result<&Trees> {
        if let Some(trees) = self.trees.get() {
            return Ok(trees);
        }
        let trees = assemble(self)?;
        Ok(self.trees.get_or_init(|| trees))
    }

    /// The second tier of drivers, made if necessary.
    fn drivers(&self, options: &Options) -> Result<Drivers> {
        self.sources(&self.trees()?.kernel, options).build()
    }

    fn sources<'a>(&'a self, kernel: &'a Kernel, options: &Options) -> drivers::Sources<'a> {
        drivers::Sources {
            kernel,
            list: &self.modules,
            firmware: &self.firmware,
            packages: &self.packages,
            density: options.density(),
        }
    }

    /// The packages of which the image has something, and the sources of its Docker. The loaders
    /// of the ISO are in none of the trees.
    fn shipped(&self, trees: &[&Tree]) -> Vec<Package> {
        let in_trees = manifest::shipped(trees, &self.packages);
        let is_loader = |package: &&Package| iso::PACKAGES.contains(&package.name.as_str());
        let loaders = self.packages.iter().filter(is_loader);
        let sources = self.lean_engine.iter().flat_map(LeanEngine::packages);
        // Debian's kernel is in no tree.
        let own = self.own_kernel.as_ref().map(|own| &own.source);
        let is_shipped =
            |package: &&Package| own.is_none() || !package.name.starts_with("linux-image-");
        let in_trees = in_trees.into_iter().filter(is_shipped);
        let all = in_trees.chain(loaders).chain(sources).chain(own);
        let mut known = BTreeSet::new();
        all.filter(|package| known.insert(&package.sha256)).cloned().collect()
    }

    /// Puts the licences of all parts into the image.
    fn insert_licences(&self, shipped: &[Package], system: &mut Tree) -> Result<()> {
        let docker = self.lean_engine.as_ref().map(|engine| lean_engine::licences(engine.key()));
        let shipped = Shipped { packages: shipped, fetched: &self.packages, docker };
        let parts = licences::gather(&shipped).context("gathering licences")?;
        system.write(packed::PATH, packed::pack(&parts)?);
        system.insert(packed::USUAL_FOLDER, Entry::symlink(packed::LINK));
        Ok(())
    }
}

fn assemble(ingredients: &Ingredients) -> Result<Trees> {
    let Ingredients { recipes, packages, binaries, key, .. } = ingredients;
    let kernels = Kernels::open(packages, ingredients.own_kernel.as_ref())?;
    let mut layers = progress::step("collecting layers", || layers::build(recipes, packages))?;
    if let Some(engine) = &ingredients.lean_engine {
        engine.insert(&mut layers)?;
    }
    let (early_modules, modules) =
        progress::step("choosing kernel modules", || kernels.select(&ingredients.modules))?;
    let mut system = system_tree(binaries, &layers, &modules, epoch()?)?;
    let seccomp = packages::find(packages, SECCOMP_PROFILE)?;
    system.insert("usr/share/ros/seccomp.json", Entry::file(Blob::Host(seccomp), 0o644));
    system.write("usr/share/ros/release-keys/release.pub", format!("{}\n", key.public()));
    insert_loaders(&mut system, packages)?;
    kernels.describe(&ingredients.modules, &mut system)?;
    let kernel = kernels.booted();
    elsewhere::insert(&mut system, &layers, &recipe::load_elsewhere()?)
        .context("images/console/elsewhere.yml")?;
    let early = initrd_tree(binaries, early_modules, &kernel);
    let shipped = ingredients.shipped(&[&system, &early]);
    progress::step("collecting licences", || ingredients.insert_licences(&shipped, &mut system))?;
    Ok(Trees { kernel, layers, modules, system, early, shipped })
}

pub(crate) fn image_paths() -> Result<Image> {
    let folder = paths::image();
    fs::create_dir_all(&folder)?;
    let full = Full::at(&folder, VERSION);
    Ok(Image {
        kernel: folder.join("vmlinuz"),
        initrd: folder.join("initrd"),
        system: folder.join("system.erofs"),
        iso: folder.join(format!("corral-{VERSION}-amd64.iso")),
        archive: folder.join(format!("corral-{VERSION}-amd64.oci.tar")),
        full: full.iso.exists().then_some(full),
    })
}

impl Options {
    fn density(&self) -> Density {
        if self.release { Density::Dense } else { Density::Light }
    }
}

impl Image {
    /// The files as a release of this version.
    pub(crate) fn release(&self, version: &str) -> Release {
        Release {
            version: version.to_owned(),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            system: self.system.clone(),
            drivers: self.full.as_ref().map(|full| full.drivers.clone()),
            contents: paths::image().join("manifest.json"),
            folder: paths::image(),
        }
    }
}

/// The boot loaders that the installer writes to disks.
fn insert_loaders(system: &mut Tree, packages: &[Package]) -> Result<()> {
    let modules = iso::MODULES.map(|name| (name, format!("{}/{name}", iso::MODULES_FOLDER)));
    let others = [
        ("mbr.bin", "usr/lib/syslinux/mbr/mbr.bin".to_owned()),
        ("gptmbr.bin", "usr/lib/syslinux/mbr/gptmbr.bin".to_owned()),
        ("systemd-bootx64.efi", iso::SYSTEMD_BOOT.to_owned()),
    ];
    for (name, path) in modules.into_iter().chain(others) {
        let file = packages::find(packages, &path)?;
        system
            .insert(&format!("usr/share/ros/loaders/{name}"), Entry::file(Blob::Host(file), 0o644));
    }
    Ok(())
}

/// A hash over everything that the image is made of.
fn stamp(options: &Options, binaries: &Binaries, packages: &[Package]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{} {packages:?} {}", options.release, os_release(VERSION)?));
    for path in [&binaries.ros, &binaries.stage0, &std::env::current_exe()?] {
        hash.update(fs::read(path)?);
    }
    let mut recipes = Tree::default();
    recipes.insert_folder(&paths::root().join("images"))?;
    recipes.write_tar(&mut hash, 0)?;
    Ok(hex::encode(hash.finalize()))
}

fn program(path: &Path) -> Entry {
    Entry::file(Blob::Host(path.to_path_buf()), 0o755)
}

fn initrd_tree(binaries: &Binaries, modules: Tree, kernel: &Kernel) -> Tree {
    let mut tree = modules;
    tree.insert("init", program(&binaries.stage0));
    tree.insert("etc/kernel-release", crate::modules::release_file(kernel));
    for folder in ["dev", "proc", "sys", "medium", "newroot"] {
        tree.insert(folder, Entry::directory());
    }
    tree
}

fn system_tree(binaries: &Binaries, layers: &[Layer], modules: &Tree, epoch: u64) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.graft("", modules);
    tree.insert("usr/bin/ros", program(&binaries.ros));
    // The kernel runs this one.
    tree.insert("usr/bin/modprobe", Entry::symlink("ros"));
    tree.insert("lib", Entry::symlink("usr/lib"));
    tree.insert("sbin", Entry::symlink("usr/bin"));
    for folder in [
        "dev", "proc", "sys", "run", "tmp", "etc", "var", "home", "opt", "mnt", "media", "state",
        "root",
    ] {
        tree.insert(folder, Entry::directory());
    }
    tree.write("usr/share/ros/os-release", os_release(VERSION)?);
    // Where the OEM partition is mounted.
    tree.insert("usr/share/ros/oem", Entry::directory());
    let images = paths::root().join("images");
    tree.insert("usr/share/ros/os.yml", Entry::file(Blob::Host(images.join("os.yml")), 0o644));
    for (path, entry) in crate::tree::read_own_folder(&images)? {
        if path.ends_with("/compose.yml") {
            tree.insert(&format!("usr/share/ros/services/{path}"), entry);
        } else if path.starts_with("catalog/") && path.ends_with(".yml") {
            tree.insert(&format!("usr/share/ros/{path}"), entry);
        }
    }
    tree.write("usr/share/ros/engines.json", serde_json::to_vec_pretty(&engines::list()?)?);
    for layer in layers {
        tree.graft(&format!("usr/share/ros/layers/{}", layer.name), &layer.tree);
        let manifest = serde_json::to_vec_pretty(&image_manifest(layer, epoch))?;
        tree.write(&format!("usr/share/ros/images/{}.json", layer.name), manifest);
    }
    Ok(tree)
}

/// What `engine::image::embedded` reads: name, layers lowest first, and an OCI image configuration.
fn image_manifest(layer: &Layer, epoch: u64) -> serde_json::Value {
    json!({
        "reference": format!("corral/os-{}:{VERSION}", layer.name),
        "about": layer.recipe.about,
        "created": epoch,
        "size": layer.tree.size(),
        "layers": layer.stack,
        "config": oci_config(layer),
    })
}

/// The part of an OCI image configuration that says how an image is run.
pub(crate) fn oci_config(layer: &Layer) -> serde_json::Value {
    let config = &layer.recipe.config;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let env = if config.env.is_empty() { vec![path] } else { config.env.clone() };
    let labels: BTreeMap<&str, &String> =
        layer.version.iter().map(|version| (VERSION_LABEL, version)).collect();
    json!({"Entrypoint": config.entrypoint, "Cmd": config.cmd, "Env": env, "Labels": labels})
}
