//! `--sources`: the sources of what a release has under the GPL and its relatives, in exactly the
//! versions that are in it, also of libraries that are linked into our programs. Who passes on the
//! release has to offer them.

use crate::components::LINKED;
use crate::engines::Engine;
use crate::licences::{self, Shipped};
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
type Wanted = BTreeMap<String, BTreeSet<(String, String)>>;

/// Fetches them; returns their files, each once.
pub(super) fn fetch(
    shipped: &Shipped<'_>,
    engines: &[Engine],
    mirror: Option<&str>,
) -> Result<Vec<Package>> {
    let mut wanted = Wanted::new();
    of_packages(packages::SUITE, shipped.packages, shipped.fetched, &mut wanted)?;
    for engine in engines {
        of_packages(&engine.suite, &engine.packages, &engine.fetched, &mut wanted)?;
    }
    wanted.entry(suite_of_host()?).or_default().extend(of_linked()?);
    let mut files: BTreeMap<String, Package> = BTreeMap::new();
    for (suite, sources) in &wanted {
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

/// Adds the sources of those packages that need it. Sources that a package is built from are in it.
fn of_packages(
    suite: &str,
    packages: &[Package],
    all: &[Package],
    wanted: &mut Wanted,
) -> Result<()> {
    let of_suite = wanted.entry(suite.to_owned()).or_default();
    // What is linked into Docker is a source already, and not unpacked.
    let unpacked =
        packages.iter().filter(|package| !package.is_source() && package.files().exists());
    for package in unpacked {
        let file = licences::copyright(package, all)?;
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        if !is_copyleft(&String::from_utf8_lossy(&text)) {
            continue;
        }
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.args(["--show", "--showformat", FORMAT]).arg(package.archive());
        let text = sh::output(&mut dpkg)
            .with_context(|| format!("finding the source of {}", package.name))?;
        of_suite.extend(parse(&text));
    }
    Ok(())
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

/// The libraries of the build machine.
fn of_linked() -> Result<Vec<(String, String)>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${source:Package} ${source:Version}\n"]).args(LINKED);
    let listed = sh::output(&mut query).context("finding the sources of the linked libraries")?;
    Ok(listed.lines().flat_map(parse).collect())
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
    fn texts_that_request_the_source_are_known() {
        for text in ["License: LGPL-2.1+", "GNU General Public License", "License: MPL-2.0"] {
            assert!(is_copyleft(text), "{text}");
        }
        assert!(!is_copyleft("License: Apache-2.0\nLicense: BSD-3-Clause"));
    }
}
