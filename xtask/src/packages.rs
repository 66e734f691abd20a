//! Debian packages for the image: resolved and fetched by apt in a private root, unpacked, cached
//! by hash. What is published is made of packages in a committed list (`locked`). Where packages
//! come from is in `origin`, their sources are in `source`.
//!
//! No mirror is named here: it is read from the host's apt configuration, or given by `--mirror`.

pub(crate) mod command;
mod locked;
mod origin;
mod package;
pub(crate) mod source;

use self::locked::{List, Lock};
pub(crate) use self::origin::SUITE;
use self::origin::{MAIN, Origin, WITH_FIRMWARE, make_root};
pub(crate) use self::package::Package;
use crate::{durable, paths, progress, sh, sum};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Resolves `wanted` with all dependencies, fetches and unpacks them: for tools and tests, whose
/// packages are in no list. Contacts the mirror only when the request is new or a package is
/// missing, or with `refresh`.
pub(crate) fn fetch(
    wanted: &BTreeSet<String>,
    mirror: Option<&str>,
    refresh: bool,
) -> Result<Vec<Package>> {
    let origin = Origin { suite: SUITE, areas: MAIN };
    let how = How { mirror, pins: &[] };
    let record = record(origin, wanted, how.pins);
    if !refresh && let Some(packages) = load_resolved(&record, Package::files) {
        return Ok(packages);
    }
    let packages = progress::step("fetching Debian packages", || resolve(origin, wanted, how))?;
    unpack_all(&packages)?;
    write_resolved(&record, &packages)?;
    Ok(packages)
}

/// What is published, or goes into it: `packages.lock` has it under a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) name: &'a str,
    /// A release of Debian.
    pub(crate) suite: &'a str,
    pub(crate) wanted: &'a BTreeSet<String>,
    /// Instead of those of this machine.
    pub(crate) mirror: Option<&'a str>,
    pub(crate) versions: Versions,
}

/// Which versions of packages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// Those of the list, and no others: what is published.
    Listed,
    /// Those of the list, or the newest ones if the mirror has dropped one: what is tried. A mirror
    /// keeps a package until the next point release of Debian.
    Available,
    /// The newest ones, which the list has from then on.
    Newest,
}

impl Versions {
    pub(crate) fn listed_unless(refresh: bool) -> Versions {
        if refresh { Versions::Newest } else { Versions::Listed }
    }
}

impl Request<'_> {
    /// The packages, unpacked. The mirror is contacted for those that were never fetched here.
    pub(crate) fn fetch(self) -> Result<Vec<Package>> {
        let packages = self.locked(MAIN, |_| true)?;
        unpack_all(&packages)?;
        Ok(packages)
    }

    /// Fetches packages of firmware in the same way.
    pub(crate) fn fetch_firmware(self) -> Result<Vec<Package>> {
        let packages = self.locked(WITH_FIRMWARE, |_| true)?;
        unpack_all(&packages)?;
        Ok(packages)
    }

    /// Those of the packages that are kept, as .deb files: nothing is unpacked.
    pub(crate) fn download(self, is_kept: impl Fn(&Package) -> bool) -> Result<Vec<Package>> {
        self.locked(MAIN, is_kept)
    }

    /// What the list has, if it is of this request; nothing is fetched.
    pub(crate) fn listed(self) -> Result<Option<Vec<Package>>> {
        let origin = Origin { suite: self.suite, areas: MAIN };
        Ok(Lock::load()?.get(self.name).filter(|list| self.is_of(list, origin)).map(packages_of))
    }

    fn is_of(self, list: &List, origin: Origin<'_>) -> bool {
        list.origin == origin.text() && list.wanted == *self.wanted
    }

    fn locked(
        self,
        areas: &'static str,
        is_kept: impl Fn(&Package) -> bool,
    ) -> Result<Vec<Package>> {
        let origin = Origin { suite: self.suite, areas };
        let lock = Lock::load()?;
        let old = lock.get(self.name).filter(|list| list.origin == origin.text());
        // Of what stays in the list, the same version is taken if the mirror has it.
        let pins = old.filter(|_| !self.takes_newest()).map(packages_of).unwrap_or_default();
        if let Some(list) = old.filter(|list| !self.takes_newest() && self.is_of(list, origin)) {
            let mut packages = self.fetch_list(list, origin)?;
            packages.retain(is_kept);
            return Ok(packages);
        }
        let mut packages = self.resolve(origin, &pins)?;
        packages.retain(is_kept);
        let list = List { origin: origin.text(), wanted: self.wanted.clone(), packages };
        let packages = list.packages.clone();
        lock.replace(self.name, list)?;
        Ok(packages)
    }

    fn takes_newest(self) -> bool {
        self.versions == Versions::Newest
    }

    /// The packages of a list, or what is taken instead of them. That is recorded for the next run,
    /// and never in the list.
    fn fetch_list(self, list: &List, origin: Origin<'_>) -> Result<Vec<Package>> {
        let takes_others = self.versions == Versions::Available;
        let record = record(origin, self.wanted, &list.packages);
        let is_here = list.packages.iter().all(|package| package.archive().exists());
        // A mirror that is named now may have those of the list.
        if takes_others
            && !is_here
            && self.mirror.is_none()
            && let Some(packages) = load_resolved(&record, Package::archive)
        {
            warn_of_others(self.name);
            return Ok(packages);
        }
        let fetched = fetch_exactly(origin, &list.packages, self.mirror)
            .with_context(|| format!("the list {} of {}", self.name, locked::NAME));
        match fetched {
            Err(error) if takes_others => {
                eprintln!("{error:#}");
                warn_of_others(self.name);
                let packages = self.resolve(origin, &list.packages)?;
                write_resolved(&record, &packages)?;
                Ok(packages)
            }
            fetched => fetched.map(|()| list.packages.clone()),
        }
    }

    /// The packages as apt resolves the request now.
    fn resolve(self, origin: Origin<'_>, pins: &[Package]) -> Result<Vec<Package>> {
        let how = How { mirror: self.mirror, pins };
        progress::step(&format!("fetching Debian packages ({})", self.name), || {
            resolve(origin, self.wanted, how)
        })
    }
}

fn warn_of_others(name: &str) {
    eprintln!(
        "WARNING: {name}: newer packages than {} lists; `cargo xtask packages --refresh` takes \
         them into it",
        locked::NAME
    );
}

/// Is a package in the list of this name?
pub(crate) fn is_in_list(name: &str, package: &Package) -> Result<bool> {
    Ok(Lock::load()?.get(name).is_some_and(|list| list.packages.contains(package)))
}

fn packages_of(list: &List) -> Vec<Package> {
    list.packages.clone()
}

fn unpack_all(packages: &[Package]) -> Result<()> {
    if packages.iter().all(|package| package.files().exists()) {
        return Ok(());
    }
    progress::step("unpacking Debian packages", || packages.iter().try_for_each(unpack))
}

/// The record of what a request was resolved to in this checkout, with these versions preferred.
fn record(origin: Origin<'_>, wanted: &BTreeSet<String>, pins: &[Package]) -> PathBuf {
    // Without the mirror: all of them have the same packages.
    let key = sum::digest_of_bytes(format!("{:?} {wanted:?} {pins:?}", origin.text()));
    paths::cache("resolved").join(format!("{key}.json"))
}

/// Reads a record, if `place` of each of its packages is there.
fn load_resolved(record: &Path, place: impl Fn(&Package) -> PathBuf) -> Option<Vec<Package>> {
    let packages: Vec<Package> = durable::load_record(record)?;
    packages.iter().all(|package| place(package).exists()).then_some(packages)
}

fn write_resolved(record: &Path, packages: &[Package]) -> Result<()> {
    let folder = record.parent().context("a record without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    durable::write(record, &serde_json::to_vec_pretty(packages)?)
}

/// Fetches these very packages, as far as the pool lacks them.
fn fetch_exactly(origin: Origin<'_>, packages: &[Package], mirror: Option<&str>) -> Result<()> {
    let missing: Vec<&Package> =
        packages.iter().filter(|package| !package.archive().exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress::step(&format!("fetching {} Debian packages", missing.len()), || {
        let root = private_root(origin, mirror)?;
        update(&root)?;
        let folder = root.join("exactly");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let versions =
            missing.iter().map(|package| format!("{}={}", package.name, package.version));
        let mut download = apt_get(&root);
        download.current_dir(&folder).args(["download", "-q"]).args(versions);
        sh::output(&mut download).with_context(|| {
            "the mirror may not have these versions any more: give one that keeps old versions \
             with --mirror URL, or take the newest with `cargo xtask packages --refresh`"
        })?;
        for package in missing {
            add_to_pool(&folder.join(&package.file), &package.file, &package.sha256)?;
        }
        fs::remove_dir_all(&folder).context("removing what is in the pool now")
    })
}

/// A file of one of the packages, by its path in the package.
pub(crate) fn find(packages: &[Package], path: &str) -> Result<PathBuf> {
    packages
        .iter()
        .map(|package| package.files().join(path))
        .find(|file| file.exists())
        .with_context(|| format!("{path} is in none of the packages fetched"))
}

/// How packages are resolved.
#[derive(Debug, Clone, Copy)]
struct How<'a> {
    mirror: Option<&'a str>,
    /// Versions that are preferred to newer ones.
    pins: &'a [Package],
}

fn resolve(origin: Origin<'_>, wanted: &BTreeSet<String>, how: How<'_>) -> Result<Vec<Package>> {
    let root = private_root(origin, how.mirror)?;
    let pin = |package: &Package| {
        let Package { name, version, .. } = package;
        format!("Package: {name}\nPin: version {version}\nPin-Priority: 990\n\n")
    };
    fs::write(root.join("etc/apt/preferences"), how.pins.iter().map(pin).collect::<String>())?;
    update(&root)?;
    // With an empty archive cache, so that packages that were fetched before are listed too.
    let nowhere = format!("Dir::Cache::Archives={}", root.join("nowhere").display());
    let uris = apt_get(&root)
        // By itself `install` prints MD5 sums, or nothing where a list has none.
        .args(["-o", &nowhere, "-o", "Acquire::ForceHash=SHA256"])
        .args(["install", "--print-uris", "-y", "-q"])
        .args(wanted)
        .output()?;
    let uris = String::from_utf8_lossy(&uris.stdout).into_owned();
    let files = uris.lines().filter_map(parse_uri).collect::<Vec<_>>();
    let archives = root.join("var/cache/apt/archives");
    for (file, sha256) in &files {
        // Packages that another checkout has fetched are not fetched again; apt still verifies
        // them.
        let _ = fs::hard_link(Package::deb(sha256), archives.join(file));
    }
    sh::output(apt_get(&root).args(["install", "--download-only", "-y", "-q"]).args(wanted))
        .context("downloading Debian packages")?;
    let mut packages = files
        .iter()
        .map(|(file, sha256)| add_to_pool(&archives.join(file), file, sha256))
        .collect::<Result<Vec<_>>>()?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    if packages.is_empty() {
        bail!("apt resolved no packages for {wanted:?}");
    }
    Ok(packages)
}

/// `'http://…/name_version.deb' name_version.deb 1234 SHA256:…`
fn parse_uri(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.strip_prefix('\'')?.split(' ').skip(1);
    let file = fields.next()?;
    Some((file, fields.nth(1)?.strip_prefix("SHA256:").unwrap_or_default()))
}

/// Adds a downloaded package to the pool, under the hash that Debian signed.
fn add_to_pool(downloaded: &Path, file: &str, signed: &str) -> Result<Package> {
    let sha256 = sum::digest(downloaded)?;
    ensure!(
        sha256 == signed,
        "{} has not the hash that Debian signed: remove it, and try again",
        downloaded.display()
    );
    let pool = Package::deb(&sha256);
    if !pool.exists() {
        fs::create_dir_all(paths::shared_cache("pool"))?;
        let fresh = pool.with_extension(std::process::id().to_string());
        fs::copy(downloaded, &fresh)?;
        durable::sync(&fresh)?;
        durable::rename(&fresh, &pool)?;
    }
    let (name, rest) = file.split_once('_').context("a package file name without a version")?;
    let version = rest.split('_').next().unwrap_or_default().replace("%3a", ":");
    Ok(Package { name: name.to_owned(), version, sha256, file: file.to_owned() })
}

fn unpack(package: &Package) -> Result<()> {
    let target = package.files();
    if target.exists() {
        return Ok(());
    }
    // Another checkout may unpack the same package at the same time: the second one uses the result
    // of the first.
    let fresh = target.with_extension(std::process::id().to_string());
    fs::create_dir_all(&fresh)?;
    sh::output(Command::new("dpkg-deb").arg("-x").arg(Package::deb(&package.sha256)).arg(&fresh))?;
    match fs::rename(&fresh, &target) {
        Err(error) if !target.exists() => {
            Err(error).with_context(|| format!("unpacking {}", package.name))
        }
        Err(_) => Ok(fs::remove_dir_all(&fresh)?),
        Ok(()) => Ok(()),
    }
}

fn update(root: &Path) -> Result<()> {
    // By itself apt takes old lists when new ones cannot be fetched.
    sh::output(apt_get(root).args(["-o", "APT::Update::Error-Mode=any", "update", "-q"]))
        .context("reading Debian's package lists")
        .map(drop)
}

fn apt_get(root: &Path) -> Command {
    apt("apt-get", root)
}

/// One of apt's programs, with our root.
fn apt(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("-o")
        .arg(format!("Dir={}", root.display()))
        .arg("-o")
        .arg(format!("Dir::State::status={}", root.join("var/lib/dpkg/status").display()))
        .args(["-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64"])
        .args(["-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=root"])
        .args(["-o", "Dir::Etc::parts=/nonexistent", "-o", "Debug::NoLocking=true"])
        .args(["-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3"]);
    command
}

/// Our own apt root: sources, lists, and an empty dpkg status, so that the resolver returns all
/// dependencies.
fn private_root(origin: Origin<'_>, mirror: Option<&str>) -> Result<PathBuf> {
    let folder = match origin {
        Origin { areas: WITH_FIRMWARE, .. } => "apt-firmware".to_owned(),
        Origin { suite: SUITE, .. } => "apt".to_owned(),
        Origin { suite, .. } => format!("apt-{suite}"),
    };
    make_root(&folder, "deb", origin, mirror)
}

/// The list of mirrors that the image's packages come from, as apt reads it.
pub(crate) fn sources(mirror: Option<&str>) -> Result<PathBuf> {
    Ok(private_root(Origin { suite: SUITE, areas: MAIN }, mirror)?.join("etc/apt/sources.list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_another_hash_than_the_signed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tzdata_2026a-1_all.deb");
        fs::write(&file, "changed").unwrap();
        let signed = sum::digest_of_bytes("package");
        let error = add_to_pool(&file, "tzdata_2026a-1_all.deb", &signed).unwrap_err().to_string();
        assert!(error.contains("has not the hash that Debian signed"), "{error}");
    }

    fn package(version: &str) -> Package {
        Package {
            name: "tzdata".to_owned(),
            version: version.to_owned(),
            sha256: sum::digest_of_bytes(version),
            file: format!("tzdata_{version}_all.deb"),
        }
    }

    #[test]
    fn a_record_is_of_one_request_and_one_list() {
        let wanted = BTreeSet::from(["tzdata".to_owned()]);
        let (main, firmware) = (MAIN, WITH_FIRMWARE);
        let of = |areas, pins: &[Package]| record(Origin { suite: SUITE, areas }, &wanted, pins);
        let all = [
            of(main, &[]),
            of(firmware, &[]),
            of(main, &[package("2026a-1")]),
            of(main, &[package("2026b-1")]),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(of(main, &[package("2026a-1")]), all[2]);
    }

    #[test]
    fn a_record_is_taken_while_its_packages_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("resolved/record.json");
        let place = |package: &Package| folder.path().join(&package.file);
        assert_eq!(load_resolved(&record, place), None);
        let packages = [package("2026a-1"), package("2026b-1")];
        write_resolved(&record, &packages).unwrap();
        fs::write(place(&packages[0]), "").unwrap();
        assert_eq!(load_resolved(&record, place), None);
        fs::write(place(&packages[1]), "").unwrap();
        assert_eq!(load_resolved(&record, place).as_deref(), Some(&packages[..]));
    }
}
