//! `--sources`: the sources of what a release has under the GPL and its relatives, in exactly the
//! versions that are in it, also of libraries that are linked into our programs. Who passes on the
//! release has to offer them.

use crate::components;
use crate::engines::Engine;
use crate::lean_engine;
use crate::licences::{Kind, Shipped};
use crate::packages::{self, Package, source};
use crate::sh;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

/// The folder in the release.
pub(super) const FOLDER: &str = "sources";
/// In a licence text: the licences that request the source.
const COPYLEFT: [&str; 5] =
    ["GPL", "GNU General Public", "Lesser General", "MPL", "Mozilla Public"];

/// Source packages by the release of Debian that has them, as (name, version).
type Request = BTreeMap<String, BTreeSet<(String, String)>>;

/// Fetches them; returns their files, each once.
pub(super) fn fetch(
    shipped: &Shipped<'_>,
    engines: &[Engine],
    mirror: Option<&str>,
) -> Result<Vec<Package>> {
    let mut request = Request::new();
    add(packages::SUITE, shipped, &mut request)?;
    for engine in engines {
        let Engine { suite, packages, fetched, .. } = engine;
        add(suite, &Shipped { packages, fetched, docker: None }, &mut request)
            .with_context(|| format!("the engine {}", engine.name))?;
    }
    request.entry(suite_of_host()?).or_default().extend(components::sources_of_linked()?);
    let mut files: BTreeMap<String, Package> = BTreeMap::new();
    for (suite, sources) in &request {
        for package in source::fetch_versions(suite, sources, mirror)? {
            if let Some(other) = files.get(&package.file) {
                let file = &package.file;
                ensure!(other.sha256 == package.sha256, "there are two files {file}");
            }
            files.insert(package.file.clone(), package);
        }
    }
    Ok(files.into_values().collect())
}

/// Adds the sources of those packages that need it.
fn add(suite: &str, shipped: &Shipped<'_>, request: &mut Request) -> Result<()> {
    for package in shipped.packages {
        let (kind, file) = shipped.licence(package)?;
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        if is_copyleft(&String::from_utf8_lossy(&text)) {
            let suite = match kind {
                Kind::Docker => lean_engine::suite_of(package)?,
                _ => suite.to_owned(),
            };
            request.entry(suite).or_default().extend(sources_of(package)?);
        }
    }
    Ok(())
}

/// The source package of a package, and those that are linked into it.
fn sources_of(package: &Package) -> Result<Vec<(String, String)>> {
    if package.is_source() {
        return Ok(vec![(package.name.clone(), package.version.clone())]);
    }
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--show", "--showformat", FORMAT]).arg(package.archive());
    let text =
        sh::output(&mut dpkg).with_context(|| format!("finding the source of {}", package.name))?;
    Ok(parse(&text))
}

/// Source and version on a line, what is linked into it on the next one.
const FORMAT: &str = "${source:Package} ${source:Version}\n${Built-Using}\n";

/// `busybox 1:1.37-1`, then `glibc (= 2.41-1), …`.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut lines = text.lines();
    let own = lines.next().and_then(|line| line.split_once(' '));
    let linked = lines.next().unwrap_or_default().split(',').filter_map(|item| {
        let (name, version) = item.trim().split_once(" (= ")?;
        Some((name, version.trim_end_matches(')')))
    });
    own.into_iter()
        .chain(linked)
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}

fn is_copyleft(text: &str) -> bool {
    COPYLEFT.iter().any(|word| text.contains(word))
}

/// The release of Debian that the build machine runs.
fn suite_of_host() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let suite = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(suite.context("/etc/os-release has no VERSION_CODENAME")?.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_and_what_is_linked_into_it_are_found() {
        let owned = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(
            parse("busybox 1:1.37.0-6\nglibc (= 2.41-12), a (= 1-2)\n"),
            [owned("busybox", "1:1.37.0-6"), owned("glibc", "2.41-12"), owned("a", "1-2")]
        );
        assert_eq!(parse("elfutils 0.192-4\n\n"), [owned("elfutils", "0.192-4")]);
        assert_eq!(parse(""), []);
    }

    #[test]
    fn a_source_package_is_its_own_source() {
        let package = Package {
            name: "docker.io".to_owned(),
            version: "1:28.5-1".to_owned(),
            sha256: String::new(),
            file: "docker.io_28.5-1.debian.tar.xz".to_owned(),
        };
        let found = sources_of(&package).unwrap();
        assert_eq!(found, [("docker.io".to_owned(), "1:28.5-1".to_owned())]);
    }

    #[test]
    fn texts_that_request_the_source_are_known() {
        for text in ["License: LGPL-2.1+", "GNU General Public License", "License: MPL-2.0"] {
            assert!(is_copyleft(text), "{text}");
        }
        assert!(!is_copyleft("License: Apache-2.0\nLicense: BSD-3-Clause"));
    }
}
