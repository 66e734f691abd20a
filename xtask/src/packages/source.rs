//! Files of Debian's source packages, fetched by apt and kept by hash. The hashes come from the
//! signed lists.
//!
//! What is built needs only the files that a recipe names: a mirror that lacks another one is good
//! enough. What is published with a release has all files of exactly one version.

use super::locked::{List, Lock};
use super::{MAIN, Origin, Package, Request, SUITE, WITH_FIRMWARE};
use super::{apt, apt_get, make_root, update};
use crate::{paths, progress, sh, sum};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file of a source package in the pool.
pub(crate) fn file(package: &Package) -> PathBuf {
    paths::shared_cache("pool").join(format!("{}.source", package.sha256))
}

/// A source package: its files whose names end as `wanted` says, in the same order. Each is
/// returned as a package of the source package's name. The version is that of `packages.lock`, or
/// the newest one.
pub(crate) fn fetch(request: Request<'_>, name: &str, wanted: &[String]) -> Result<Vec<Package>> {
    let Request { suite, mirror, .. } = request;
    let origin = Origin { suite, areas: MAIN };
    let lock = Lock::load()?;
    let is_taken = |list: &&List| !request.takes_newest() && request.is_of(list, origin);
    let listed = lock.get(request.name).filter(is_taken);
    let listed = listed.map(|list| ordered(&list.packages, name, wanted)).transpose()?;
    if let Some(files) = listed.as_ref().filter(|files| are_here(files)) {
        return Ok(files.clone());
    }
    let root = make_root(&format!("apt-{suite}-sources"), "deb-src", origin, mirror)?;
    progress::step(&format!("fetching the source of {name}"), || {
        update(&root)?;
        if let Some(files) = listed {
            let version = files.first().map(|file| file.version.clone());
            download(&root, name, version.as_deref(), &files)?;
            return Ok(files);
        }
        let files = ordered(&list(&root, name, None)?, name, wanted)?;
        if !are_here(&files) {
            download(&root, name, None, &files)?;
        }
        let packages = files.clone();
        let list = List { origin: origin.text(), wanted: request.wanted.clone(), packages };
        lock.replace(request.name, list)?;
        Ok(files)
    })
}

fn are_here(files: &[Package]) -> bool {
    files.iter().all(|package| file(package).exists())
}

fn ordered(all: &[Package], name: &str, wanted: &[String]) -> Result<Vec<Package>> {
    let find = |end: &String| {
        let found = all.iter().find(|package| package.file.ends_with(end.as_str()));
        found.cloned().with_context(|| format!("source package {name} has no file …{end}"))
    };
    wanted.iter().map(find).collect()
}

/// All files of these versions of source packages, given as (name, version).
pub(crate) fn fetch_versions(
    suite: &str,
    wanted: &BTreeSet<(String, String)>,
    mirror: Option<&str>,
) -> Result<Vec<Package>> {
    // Packages of firmware are from the image's own release of Debian only.
    let areas = if suite == SUITE { WITH_FIRMWARE } else { MAIN };
    let origin = Origin { suite, areas };
    let root = make_root(&format!("apt-{suite}-sources"), "deb-src", origin, mirror)?;
    progress::step(&format!("fetching {} sources of {suite}", wanted.len()), || {
        update(&root)?;
        let mut all = Vec::new();
        for (name, version) in wanted {
            let files = list(&root, name, Some(version))
                .with_context(|| format!("the source of {name} {version}"))?;
            if !files.iter().all(|package| file(package).exists()) {
                download(&root, name, Some(version), &files)?;
            }
            all.extend(files);
        }
        Ok(all)
    })
}

/// `apt-get source` of a version, or of the newest one.
fn apt_source(root: &Path, name: &str, version: Option<&str>, action: &str) -> Command {
    let mut command = apt_get(root);
    command.args(["source", "--only-source", action, "-q"]);
    command.arg(match version {
        Some(version) => format!("{name}={version}"),
        None => name.to_owned(),
    });
    command
}

/// `'http://…/name_version.dsc' name_version.dsc 1234 SHA256:…`
fn list(root: &Path, name: &str, version: Option<&str>) -> Result<Vec<Package>> {
    let output = apt_source(root, name, version, "--print-uris").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let files: Vec<(&str, &str)> = text.lines().filter_map(super::parse_uri).collect();
    let control = files.iter().find_map(|(file, _)| file.strip_suffix(".dsc"));
    let control = control.with_context(|| {
        format!("apt knows no source of {name}: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    // The name of a file has no epoch.
    let bare = control.split_once('_').map_or(control, |(_, version)| version);
    let known = sh::output(apt("apt-cache", root).args(["showsrc", "--only-source", name]))?;
    let version = with_epoch(&known, bare);
    let version =
        version.with_context(|| format!("apt knows no version {bare} of source package {name}"))?;
    let package = |(file, sha256): &(&str, &str)| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: (*sha256).to_owned(),
        file: (*file).to_owned(),
    };
    Ok(files.iter().map(package).collect())
}

/// A version in the lines of a package list, given without its epoch.
fn with_epoch<'a>(known: &'a str, bare: &str) -> Option<&'a str> {
    let mut versions = known.lines().filter_map(|line| line.strip_prefix("Version: "));
    versions.find(|version| {
        *version == bare || version.split_once(':').is_some_and(|(_, rest)| rest == bare)
    })
}

/// apt stops at the first file that a mirror lacks, but has fetched the others.
fn download(root: &Path, name: &str, version: Option<&str>, files: &[Package]) -> Result<()> {
    let folder = root.join("sources");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(paths::shared_cache("pool"))?;
    let output = apt_source(root, name, version, "--download-only").current_dir(&folder).output();
    let output = output.context("starting apt-get")?;
    for package in files {
        let bytes = fs::read(folder.join(&package.file)).with_context(|| {
            format!(
                "{} of Debian's source package {name} could not be fetched (give another mirror \
                 with --mirror URL); apt says: {}",
                package.file,
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })?;
        let sha256 = sum::digest_of_bytes(&bytes);
        ensure!(sha256 == package.sha256, "{} has not the hash that Debian signed", package.file);
        let fresh = file(package).with_extension(std::process::id().to_string());
        fs::write(&fresh, bytes)?;
        fs::rename(fresh, file(package)).context("keeping a source")?;
    }
    fs::remove_dir_all(folder).context("removing the rest of a source")
}

#[cfg(test)]
mod tests {
    use super::with_epoch;

    #[test]
    fn the_version_of_a_source_keeps_its_epoch() {
        let known = "Package: a\nVersion: 2.0-1\n\nPackage: a\nVersion: 1:2.1-3\n";
        assert_eq!(with_epoch(known, "2.0-1"), Some("2.0-1"));
        assert_eq!(with_epoch(known, "2.1-3"), Some("1:2.1-3"));
        assert_eq!(with_epoch(known, "1-3"), None);
    }
}
