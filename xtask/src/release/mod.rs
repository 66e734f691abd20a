//! `cargo xtask release`: writes `target/release-VERSION` with everything that a person downloads,
//! and prints what is in it. A file is written again only if what it is made of has changed.

mod artifact;
mod compare;
mod disks;
mod formats;
mod gce;
mod gzip;
mod identity;
mod licences;
mod manual;
mod oci;
mod ova;
mod ovf;
mod sbom;
mod settle;
mod small_iso;
mod sources;
mod sshsig;
mod sums;
mod vagrant;
mod verify;
mod version;
mod vhd;

use self::artifact::{Artifact, Job, key, make_all};
use self::settle::Settings;
pub(crate) use self::sums::NAME as SUMS;
use self::version::Version;
use crate::docs::book;
use crate::engines::Engine;
use crate::image::{self, Checkout, Image, KernelChoice, Record, VERSION};
use crate::licences::Shipped;
use crate::lock::{self, Building, InUse};
use crate::manifest::{self, Contents};
use crate::oci_layout::Layout;
use crate::packages::{self, Package, Versions};
use crate::signed_release::Key;
use crate::test_kernel::{self, Availability};
use crate::{
    components, engines, kernel_headers, layers, lean_engine, paths, progress, recipe, setup,
    signed_release, tools, uml_image,
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;
use vmtest::netboot;
use vmtest::release::{FILES, File};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Pack the image loosely, in seconds, with the hooks of the stories: not to be published
    #[arg(long)]
    quick: bool,
    /// Build no image: use the one that is there. A quick one needs --quick too
    #[arg(long, conflicts_with = "mirror")]
    no_image: bool,
    /// Whose kernel the small ISO has; all other files have Debian's
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHOSE",
        conflicts_with_all = ["no_image", "verify"]
    )]
    kernel: KernelChoice,
    /// Debian mirror to use instead of the host's own
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Key that signs the release (ed25519, PKCS#8) instead of the one that this working copy makes
    /// for itself
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Also fetch the sources of all parts under the GPL, the LGPL and the MPL, into `sources/` of
    /// the release: some hundred megabytes
    #[arg(long)]
    sources: bool,
    /// Write the release twice, the second time from a copy of the last commit in another folder,
    /// and compare them; fails if a file differs
    #[arg(long, conflicts_with_all = ["no_image", "sources"])]
    verify: bool,
}

/// What a release is made of.
struct Ingredients {
    image: Image,
    /// Instead of that of the image.
    small_iso: Option<PathBuf>,
    record: Record,
    key: Key,
    /// All packages, also those of which no file is in the image.
    packages: Vec<Package>,
    /// The replacement engines, and the headers of the kernel.
    archives: Vec<Engine>,
    manifest: Contents,
    version: Version,
    folder: PathBuf,
    _in_use: InUse,
}

/// Writes the release, and prints its files.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    if options.verify {
        return verify::run(&verify::How {
            quick: options.quick,
            mirror: options.mirror.as_deref(),
            signing_key: options.signing_key.as_deref(),
        });
    }
    let _alone = lock::alone("release.lock", "which writes a release")?;
    let ingredients = gather(options)?;
    let begin = Instant::now();
    let mut artifacts = ingredients.make()?;
    if options.sources {
        artifacts.extend(make_all(ingredients.source_jobs(options.mirror.as_deref())?)?);
    }
    artifacts.sort_by(|a, b| a.path.cmp(&b.path));
    remove_others(&ingredients.folder, &artifacts, options.sources)?;
    let named = artifacts
        .iter()
        .map(|artifact| Ok((ingredients.name(&artifact.path)?, artifact.sum.sha256.clone())))
        .collect::<Result<Vec<_>>>()?;
    sums::write(&ingredients.folder, &named, &ingredients.key)?;
    print(&ingredients, &artifacts)?;
    eprintln!("the release: {:.0} s after the image", begin.elapsed().as_secs_f32());
    warn(&ingredients, options.sources)
}

fn gather(options: &Options) -> Result<Ingredients> {
    let key = Key::load(options.signing_key.as_deref())?;
    let small_iso = small_iso::build(&wanted(options))?;
    let (image, packages, building) =
        if options.no_image { take_image(options.quick)? } else { build_image(options)? };
    let record = Record::load()?;
    progress::step("checking the image", || {
        record.check(&image.iso, &image.archive, image.full.as_ref())?;
        image.release(VERSION).verify(&key)
    })?;
    tools::prepare_emulators()?;
    let mut archives = engines::build_all(options.mirror.as_deref())?;
    archives.push(kernel_headers::build(&packages, options.mirror.as_deref())?);
    let folder = version::folder(&paths::target());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(Ingredients {
        image,
        small_iso,
        key,
        packages,
        archives,
        manifest: manifest::load()?,
        version: Version::of(&record)?,
        record,
        folder,
        _in_use: building.done()?,
    })
}

fn wanted(options: &Options) -> image::Options {
    image::Options {
        release: !options.quick,
        full: true,
        kernel: options.kernel,
        mirror: options.mirror.clone(),
        signing_key: options.signing_key.clone(),
        ..image::Options::default()
    }
}

/// That of Debian's kernel.
fn build_image(options: &Options) -> Result<(Image, Vec<Package>, Building)> {
    let wanted = image::Options { kernel: KernelChoice::Debian, ..wanted(options) };
    let ingredients = image::gather(&wanted)?;
    let image = image::write(&ingredients, &wanted)?;
    match test_kernel::prepare()? {
        Availability::Kernel(kernel) => uml_image::prepare(&ingredients, &kernel)?,
        Availability::Unavailable(why) => {
            eprintln!("the disks are installed in QEMU, which takes minutes: {why:#}");
        }
    }
    let packages = [ingredients.packages, ingredients.firmware].concat();
    Ok((image, packages, ingredients.building))
}

/// The image that is there. One with the hooks of the stories must be wanted.
fn take_image(quick: bool) -> Result<(Image, Vec<Package>, Building)> {
    let building = Building::begin()?;
    let advice = "run `cargo xtask release` without --no-image";
    let record = Record::load().with_context(|| format!("there is no complete image: {advice}"))?;
    ensure!(
        record.release || quick,
        "the image that is there has the hooks of the stories: {advice}, or add --quick"
    );
    let image = image::image_paths()?;
    ensure!(
        image.full.is_some(),
        "the image that is there has no drivers.erofs: {advice}, or `cargo xtask image --full`"
    );
    let mut packages = image::fetch_packages(None, Versions::Listed)?;
    packages.extend(image::fetch_firmware(&recipe::load_modules()?, None, Versions::Listed)?);
    Ok((image, packages, building))
}

impl Ingredients {
    /// Makes all files: the disks in a machine, the rest meanwhile.
    fn make(&self) -> Result<Vec<Artifact>> {
        let (plain, installed) = thread::scope(|scope| {
            let plain = scope.spawn(|| make_all(self.plain_jobs()?));
            let settings = Settings { packages: &self.packages, epoch: self.version.epoch };
            let installed = disks::install(&self.image.archive, &self.record.stamp, settings);
            (plain.join(), installed)
        });
        let mut artifacts = plain.map_err(|_| anyhow!("writing the release was interrupted"))??;
        let installed = installed?;
        let is_package = |file: &File| file.part().is_some();
        let (packages, single): (Vec<File>, Vec<File>) = FILES.into_iter().partition(is_package);
        artifacts.extend(make_all(self.disk_jobs(&single, &installed))?);
        artifacts.extend(make_all(self.disk_jobs(&packages, &installed))?);
        artifacts.retain(|artifact| artifact.path.starts_with(&self.folder));
        Ok(artifacts)
    }

    fn disk_jobs(&self, files: &[File], installed: &str) -> Vec<Job<'_>> {
        let job = |file: File| Job {
            output: self.place(file),
            inputs: key(&[installed, &format!("{file:?}")]),
            make: Box::new(move |output: &Path| {
                let part = file.part().map(|part| self.place(part));
                disks::write(file, part.as_deref(), output, self.version.epoch)
            }),
        };
        files.iter().copied().map(job).collect()
    }

    /// Where a file is written: what is only a part of others is not in the release.
    fn place(&self, file: File) -> PathBuf {
        let folder = if file.is_part() { paths::cache("publish") } else { self.folder.clone() };
        folder.join(file.name(VERSION))
    }

    /// What needs no disk.
    fn plain_jobs(&self) -> Result<Vec<Job<'_>>> {
        let file = |name: &str| self.folder.join(format!("corral-{VERSION}{name}"));
        let netboot = |name: &str| self.folder.join(netboot::FOLDER).join(name);
        let epoch = self.version.epoch;
        let components = components::all(&self.manifest.packages)?;
        let full = self.version.full();
        let product = sbom::Product { version: &full, created: &self.version.created };
        let made_of = self.made_of();
        let stamp = made_of.as_str();
        let archives = self.archives.iter().map(|engine| {
            let archive = &engine.archive;
            let time = fs::metadata(archive).and_then(|metadata| metadata.modified());
            let time = time.with_context(|| format!("reading {}", archive.display()))?;
            Ok(format!("{} {time:?} {:?}", engine.name, engine.packages))
        });
        let archives = archives.collect::<Result<Vec<String>>>()?.join("\n");
        let mut jobs = vec![
            self.copy(self.small_iso.as_ref().unwrap_or(&self.image.iso), file("-amd64.iso")),
            self.copy(&self.image.archive, file("-amd64.oci.tar")),
            self.copy(&self.image.kernel, netboot("vmlinuz")),
            self.copy(&self.image.initrd, netboot("initrd")),
            self.copy(&self.image.system, netboot("system.erofs")),
            text(netboot(netboot::SCRIPT), netboot::script(netboot::SCRIPT, VERSION)),
            text(netboot(netboot::FULL), netboot::script(netboot::FULL, VERSION)),
            text(file("-sbom.spdx.json"), pretty(&sbom::spdx(product, &components))?),
            text(file("-sbom.cdx.json"), pretty(&sbom::cyclonedx(product, &components))?),
            text(
                self.folder.join("version.json"),
                pretty(&self.version.to_json(&self.manifest.kernel))?,
            ),
            Job {
                output: file("-licences.tar.gz"),
                inputs: key(&[stamp, &format!("{components:?}"), &archives]),
                make: Box::new(move |output| {
                    licences::write(&self.shipped(), &self.archives, output, epoch)
                }),
            },
            Job {
                output: file("-manual.tar.gz"),
                inputs: key(&[stamp, &book::inputs()?]),
                make: Box::new(move |output| manual::write(output, epoch)),
            },
            Job {
                output: file("-registry.oci.tar"),
                inputs: key(&[stamp, &archives]),
                make: Box::new(|output| self.write_registry(output)),
            },
        ];
        if let Some(full) = &self.image.full {
            jobs.push(self.copy(&full.iso, file("-amd64-full.iso")));
            jobs.push(self.copy(&full.drivers.image, netboot("drivers.erofs")));
            jobs.push(self.copy(&full.drivers.initrd, netboot("drivers.initrd")));
        }
        for name in ["CHANGELOG.md", "LICENSE", "NOTICE"] {
            let content = fs::read_to_string(paths::root().join(name))
                .with_context(|| format!("reading {name}"))?;
            jobs.push(text(self.folder.join(name), content));
        }
        Ok(jobs)
    }

    /// The image and its drivers, as a hash.
    fn made_of(&self) -> String {
        format!("{} {}", self.record.stamp, self.record.drivers())
    }

    fn shipped(&self) -> Shipped<'_> {
        Shipped {
            packages: &self.manifest.packages,
            fetched: &self.packages,
            docker: self.record.engine.as_deref().map(lean_engine::licences),
        }
    }

    /// The sources, out of the pool.
    fn source_jobs(&self, mirror: Option<&str>) -> Result<Vec<Job<'_>>> {
        let files = sources::fetch(&self.shipped(), &self.archives, mirror)?;
        let job = |package: Package| Job {
            output: self.folder.join(sources::FOLDER).join(&package.file),
            inputs: key(&[&package.sha256, "source"]),
            make: Box::new(move |output: &Path| {
                let from = packages::source::file(&package);
                fs::copy(&from, output)
                    .map(drop)
                    .with_context(|| format!("copying {}", from.display()))
            }),
        };
        Ok(files.into_iter().map(job).collect())
    }

    fn copy<'a>(&self, from: &'a Path, output: PathBuf) -> Job<'a> {
        Job {
            output,
            inputs: key(&[&self.made_of(), "copy", &from.to_string_lossy()]),
            make: Box::new(move |output| {
                fs::copy(from, output)
                    .map(drop)
                    .with_context(|| format!("copying {}", from.display()))
            }),
        }
    }

    /// All that registries serve, as one layout: the release with its signature, the replacement
    /// engines, the headers of the kernel, the images of the catalogue, each signed too. Their tags
    /// have a repository before them.
    fn write_registry(&self, output: &Path) -> Result<()> {
        let mut layout = Layout::default();
        layout.add_archive(&self.image.archive, "corral")?;
        for engine in &self.archives {
            layout.add_archive(&engine.archive, engine.repository)?;
        }
        let all = layers::build(&recipe::all()?, &self.packages)?;
        for name in oci::names_in_catalogue()? {
            let layer = all.iter().find(|layer| layer.name == name);
            let layer =
                layer.with_context(|| format!("images/{name}/image.yml: no such recipe"))?;
            oci::add_image(&mut layout, layer, &all, self.version.epoch)?;
        }
        signed_release::sign_images(&mut layout, &self.key)?;
        layout.write(output)
    }

    /// The name of a file relative to the release.
    fn name(&self, path: &Path) -> Result<String> {
        let name = path.strip_prefix(&self.folder);
        let name = name.with_context(|| format!("{} is not in the release", path.display()))?;
        Ok(name.display().to_string())
    }
}

fn text(output: PathBuf, content: String) -> Job<'static> {
    Job {
        output,
        inputs: key(&[&content]),
        make: Box::new(move |output| fs::write(output, content).context("writing a text")),
    }
}

fn pretty(value: &serde_json::Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value).context("writing JSON")? + "\n")
}

/// Removes files of an earlier release from the folder. Sources, which may not be on any mirror
/// any more, are removed only by a release that has fetched its own.
fn remove_others(folder: &Path, artifacts: &[Artifact], has_sources: bool) -> Result<()> {
    let keep: BTreeSet<&Path> = artifacts.iter().map(|artifact| artifact.path.as_path()).collect();
    let sources = folder.join(sources::FOLDER);
    for (name, _) in crate::tree::read_folder(folder)? {
        let path = folder.join(name);
        let is_kept = keep.contains(path.as_path()) || (!has_sources && path.starts_with(&sources));
        if path.is_file() && !is_kept {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

fn print(ingredients: &Ingredients, artifacts: &[Artifact]) -> Result<()> {
    progress::say(&format!("{:>12}  {:<64}  name", "bytes", "SHA-256"))?;
    for file in artifacts {
        let name = ingredients.name(&file.path)?;
        progress::say(&format!("{:>12}  {}  {name}", file.sum.bytes, file.sum.sha256))?;
    }
    let total: u64 = artifacts.iter().map(|artifact| artifact.sum.bytes).sum();
    progress::say(&format!("{total:>12}  in {}", ingredients.folder.display()))
}

/// What makes a release one that is not to be published.
fn warn(ingredients: &Ingredients, has_sources: bool) -> Result<()> {
    let record = &ingredients.record;
    if !has_sources && ingredients.folder.join(sources::FOLDER).exists() {
        eprintln!("warning: sources/ is of an earlier release, and not in SHA256SUMS (--sources)");
    }
    if !record.release {
        eprintln!("warning: it is not packed densely, and tests can trigger bugs in it (--quick)");
    }
    if record.checkout.as_ref().is_some_and(|checkout| checkout.is_changed) {
        eprintln!("warning: the checkout had changes that no commit has");
    }
    if record.checkout != Some(Checkout::now()?) {
        eprintln!("warning: the checkout is not what the image was built from (--no-image)");
    }
    if let Some(line) = sums::unknown_signer(&ingredients.key)? {
        eprintln!("warning: its key is not in keys/allowed_signers; the line of the key is");
        eprintln!("{line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_an_earlier_release_stay_until_new_ones_are_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let [old, source] = ["old.iso", "sources/a.tar.xz"].map(|name| folder.path().join(name));
        fs::create_dir(folder.path().join(sources::FOLDER)).unwrap();
        for file in [&old, &source] {
            fs::write(file, "old").unwrap();
        }
        remove_others(folder.path(), &[], false).unwrap();
        assert_eq!((old.exists(), source.exists()), (false, true));
        remove_others(folder.path(), &[], true).unwrap();
        assert!(!source.exists());
    }
}
