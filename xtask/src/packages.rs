//! Debian packages for the image: resolved and fetched by apt in a private root, unpacked, cached
//! by hash. Sources of packages are in `source`.
//!
//! No mirror is named here: it is read from the host's apt configuration, or given by `--mirror`.

pub(crate) mod source;

use crate::{durable, paths, progress, setup, sh, sum};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of Debian that the image is made of.
pub(crate) const SUITE: &str = "trixie";
/// Releases without suites of updates: what is new goes into the release itself.
const ROLLING: [&str; 2] = ["forky", "sid"];
/// The part of Debian's archive with programs, and that with firmware too.
const MAIN: &str = "main";
const WITH_FIRMWARE: &str = "main non-free-firmware";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One package as it went into the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Debian's name of it.
    pub(crate) name: String,
    /// Debian's version of it.
    pub(crate) version: String,
    /// SHA-256 of the .deb file.
    pub(crate) sha256: String,
    /// Name of the .deb file in the pool.
    pub(crate) file: String,
}

/// A release of Debian, and parts of its archive.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    suite: &'a str,
    areas: &'static str,
}

impl Package {
    /// The folder with its unpacked files.
    pub(crate) fn files(&self) -> PathBuf {
        paths::shared_cache("unpacked").join(&self.sha256)
    }

    /// The .deb file.
    pub(crate) fn archive(&self) -> PathBuf {
        Package::deb(&self.sha256)
    }

    /// Is it a file of a source package?
    pub(crate) fn is_source(&self) -> bool {
        !self.file.ends_with(".deb")
    }

    fn deb(sha256: &str) -> PathBuf {
        paths::shared_cache("pool").join(format!("{sha256}.deb"))
    }
}

/// Resolves `wanted` with all dependencies, fetches and unpacks them. Contacts the mirror only when
/// the list is new or a package is missing, or with `refresh`.
pub(crate) fn fetch(
    wanted: &BTreeSet<String>,
    mirror: Option<&str>,
    refresh: bool,
) -> Result<Vec<Package>> {
    fetch_of(SUITE, wanted, mirror, refresh)
}

/// Fetches packages of firmware in the same way.
pub(crate) fn fetch_firmware(
    wanted: &[String],
    mirror: Option<&str>,
    refresh: bool,
) -> Result<Vec<Package>> {
    let origin = Origin { suite: SUITE, areas: WITH_FIRMWARE };
    fetch_from(origin, &wanted.iter().cloned().collect(), mirror, refresh)
}

/// Fetches packages in the same way from another release of Debian.
pub(crate) fn fetch_of(
    suite: &str,
    wanted: &BTreeSet<String>,
    mirror: Option<&str>,
    refresh: bool,
) -> Result<Vec<Package>> {
    fetch_from(Origin { suite, areas: MAIN }, wanted, mirror, refresh)
}

fn fetch_from(
    origin: Origin<'_>,
    wanted: &BTreeSet<String>,
    mirror: Option<&str>,
    refresh: bool,
) -> Result<Vec<Package>> {
    let suite = origin.suite;
    let list = wanted.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    // Without the mirror: all of them have the same packages.
    let key = sum::digest_of_bytes(format!("{suite} {list}"));
    let index = paths::cache("resolved").join(format!("{key}.json"));
    if !refresh && let Some(packages) = load(&index) {
        return Ok(packages);
    }
    let packages = progress::step("fetching Debian packages", || resolve(origin, &list, mirror))?;
    progress::step("unpacking Debian packages", || packages.iter().try_for_each(unpack))?;
    fs::create_dir_all(paths::cache("resolved"))?;
    durable::write(&index, &serde_json::to_vec_pretty(&packages)?)?;
    Ok(packages)
}

/// The newest versions of `wanted` and of all dependencies in a release of Debian, as .deb files:
/// nothing is unpacked.
pub(crate) fn download(
    suite: &str,
    wanted: &BTreeSet<String>,
    mirror: Option<&str>,
) -> Result<Vec<Package>> {
    let list = wanted.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let origin = Origin { suite, areas: MAIN };
    progress::step("fetching Debian packages", || resolve(origin, &list, mirror))
}

/// A file of one of the packages, by its path in the package.
pub(crate) fn find(packages: &[Package], path: &str) -> Result<PathBuf> {
    packages
        .iter()
        .map(|package| package.files().join(path))
        .find(|file| file.exists())
        .with_context(|| format!("{path} is in none of the packages fetched"))
}

fn load(index: &Path) -> Option<Vec<Package>> {
    let packages: Vec<Package> = durable::load_record(index)?;
    packages.iter().all(|package| package.files().exists()).then_some(packages)
}

fn resolve(origin: Origin<'_>, list: &str, mirror: Option<&str>) -> Result<Vec<Package>> {
    let root = private_root(origin, mirror)?;
    update(&root)?;
    let names: Vec<&str> = list.split(' ').collect();
    // With an empty archive cache, so that packages that were fetched before are listed too.
    let nowhere = format!("Dir::Cache::Archives={}", root.join("nowhere").display());
    let uris = apt_get(&root)
        // By itself `install` prints MD5 sums, or nothing where a list has none.
        .args(["-o", &nowhere, "-o", "Acquire::ForceHash=SHA256"])
        .args(["install", "--print-uris", "-y", "-q"])
        .args(&names)
        .output()?;
    let uris = String::from_utf8_lossy(&uris.stdout).into_owned();
    let files = uris.lines().filter_map(parse_uri).collect::<Vec<_>>();
    let archives = root.join("var/cache/apt/archives");
    for (file, sha256) in &files {
        // Packages that another checkout has fetched are not fetched again; apt still verifies
        // them.
        let _ = fs::hard_link(Package::deb(sha256), archives.join(file));
    }
    sh::output(apt_get(&root).args(["install", "--download-only", "-y", "-q"]).args(&names))
        .context("downloading Debian packages")?;
    let mut packages = files
        .iter()
        .map(|(file, sha256)| add_to_pool(&archives.join(file), file, sha256))
        .collect::<Result<Vec<_>>>()?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    if packages.is_empty() {
        bail!("apt resolved no packages for {list}");
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

/// `kind` is `deb` for packages, or `deb-src` for their sources.
fn make_root(
    folder: &str,
    kind: &str,
    origin: Origin<'_>,
    mirror: Option<&str>,
) -> Result<PathBuf> {
    let Origin { suite, areas } = origin;
    let root = paths::cache(folder);
    for folder in [
        "etc/apt",
        "var/lib/apt/lists/partial",
        "var/lib/dpkg",
        "var/cache/apt/archives/partial",
        "nowhere/partial",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("var/lib/dpkg/status"), "")?;
    let sources = match mirror {
        Some(mirror) => BTreeSet::from([(mirror.to_owned(), suite.to_owned())]),
        None => host_mirrors(suite)?,
    };
    // Only packages that no other suite has come from there, by apt's priority for backports.
    let backports: Vec<_> = sources
        .iter()
        .filter(|(_, of_mirror)| of_mirror == SUITE)
        .map(|(mirror, _)| (mirror.clone(), format!("{SUITE}-backports")))
        .collect();
    let lines: Vec<String> = sources
        .iter()
        .chain(&backports)
        .map(|(uri, suite)| format!("{kind} [signed-by={KEYRING}] {uri} {suite} {areas}\n"))
        .collect();
    fs::write(root.join("etc/apt/sources.list"), lines.concat())?;
    Ok(root)
}

/// The list of mirrors that the image's packages come from, as apt reads it.
pub(crate) fn sources(mirror: Option<&str>) -> Result<PathBuf> {
    Ok(private_root(Origin { suite: SUITE, areas: MAIN }, mirror)?.join("etc/apt/sources.list"))
}

/// The host's own Debian mirrors, each with this suite in place of the host's: `bookworm-updates` →
/// `trixie-updates`.
fn host_mirrors(suite: &str) -> Result<BTreeSet<(String, String)>> {
    let mut mirrors = load_mirrors(suite)?;
    if mirrors.is_empty() {
        // apt reports only sources of which it has fetched a list.
        setup::update_lists()?;
        mirrors = load_mirrors(suite)?;
    }
    if mirrors.is_empty() {
        bail!("the host's apt knows no Debian mirror: give one with --mirror URL");
    }
    Ok(mirrors)
}

fn load_mirrors(suite: &str) -> Result<BTreeSet<(String, String)>> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
    let targets = sh::output(Command::new("apt-get").args(["indextargets", "--format", format]))
        .context("asking apt for its sources")?;
    Ok(targets.lines().filter_map(|target| debian_mirror(target, suite)).collect())
}

fn debian_mirror(target: &str, suite: &str) -> Option<(String, String)> {
    let fields: Vec<&str> = target.split(' ').collect();
    let [uri, release, "main", "Debian"] = fields.as_slice() else { return None };
    let suffix =
        release.split_once('-').map(|(_, suffix)| format!("-{suffix}")).unwrap_or_default();
    let is_wanted = match suffix.as_str() {
        "" => true,
        "-updates" | "-security" => !ROLLING.contains(&suite),
        _ => false,
    };
    is_wanted.then(|| (uri.trim_end_matches('/').to_owned(), format!("{suite}{suffix}")))
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

    #[test]
    fn a_mirror_of_the_host_has_other_releases_too() {
        let mirror = |release: &str, suite: &str| {
            debian_mirror(&format!("http://m/debian/ {release} main Debian"), suite)
                .map(|(_, suite)| suite)
        };
        assert_eq!(mirror("bookworm", "trixie").as_deref(), Some("trixie"));
        assert_eq!(mirror("bookworm-security", "trixie").as_deref(), Some("trixie-security"));
        assert_eq!(mirror("bookworm-security", "forky"), None, "it has no such suite");
        assert_eq!(mirror("bookworm-backports", "trixie"), None);
        assert_eq!(debian_mirror("http://m/other x main Another", "trixie"), None);
    }
}
