//! What the system is made of: Debian's packages; Rust's crates, from cargo; and the C libraries of
//! the build machine that are linked into our programs.

use crate::packages::Package;
use crate::sh;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The programs in the image.
const PROGRAMS: [&str; 2] = ["corral-ros", "corral-stage0"];
/// Our own crates; they are the product.
const OURS: &str = "corral-";

/// Packages of the build machine whose libraries are linked statically into our programs.
const LINKED: [&str; 5] =
    ["libc6-dev", "libelf-dev", "libseccomp-dev", "libzstd-dev", "zlib1g-dev"];

/// Crates that declare no licence: name, version, and what the text in their source is. A newer
/// version has to be read again.
const UNDECLARED: [(&str, &str, &str); 1] = [("rust-criu", "0.6.1", "MIT")];

/// One part of the system, by another project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Package URL: its name in the world (github.com/package-url/purl-spec).
    pub(crate) purl: String,
    /// An SPDX expression.
    pub(crate) licence: Option<String>,
    /// SHA-256 of the package file.
    pub(crate) sha256: Option<String>,
}

/// All of them, sorted. The packages are those of which the image has something.
pub(crate) fn all(packages: &[Package]) -> Result<Vec<Component>> {
    let mut components: BTreeSet<Component> = packages.iter().map(of_package).collect();
    components.extend(crates()?);
    components.extend(linked()?);
    Ok(components.into_iter().collect())
}

/// The libraries of the build machine that are linked into our programs.
pub(crate) fn linked() -> Result<Vec<Component>> {
    Ok(query_linked("${Package} ${Version} ${Architecture}\n")?
        .lines()
        .filter_map(of_line)
        .collect())
}

/// Their source packages, as (name, version).
pub(crate) fn sources_of_linked() -> Result<Vec<(String, String)>> {
    let listed = query_linked("${source:Package} ${source:Version}\n")?;
    let source = |line: &str| {
        let (name, version) = line.split_once(' ')?;
        Some((name.to_owned(), version.to_owned()))
    };
    Ok(listed.lines().filter_map(source).collect())
}

fn query_linked(format: &str) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", format]).args(LINKED);
    sh::output(&mut query).context("finding the linked libraries")
}

/// A source package has several files: they are one component, without a digest.
pub(crate) fn of_package(package: &Package) -> Component {
    if package.is_source() {
        return of_debian(&package.name, &package.version, "source");
    }
    let architecture = package.file.trim_end_matches(".deb").rsplit('_').next();
    let sha256 = Some(package.sha256.clone());
    let architecture = architecture.unwrap_or("amd64");
    Component { sha256, ..of_debian(&package.name, &package.version, architecture) }
}

/// `name version architecture`
fn of_line(line: &str) -> Option<Component> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [name, version, architecture] = fields.as_slice() else { return None };
    Some(of_debian(name, version, architecture))
}

fn of_debian(name: &str, version: &str, architecture: &str) -> Component {
    Component {
        purl: format!("pkg:deb/debian/{}@{}?arch={architecture}", escape(name), escape(version)),
        name: name.to_owned(),
        version: version.to_owned(),
        licence: None,
        sha256: None,
    }
}

/// The crates of other projects that our programs are linked with.
pub(crate) fn crates() -> Result<BTreeSet<Component>> {
    let mut cargo = sh::cargo();
    cargo.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--target", TARGET]);
    cargo.args(["--prefix", "none", "--format", "{p}|{l}"]);
    cargo.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    let tree = sh::output(&mut cargo).context("listing crates")?;
    let crates: BTreeSet<Component> = tree.lines().filter_map(of_crate).collect();
    if let Some(Component { name, version, .. }) =
        crates.iter().find(|component| component.licence.is_none())
    {
        bail!(
            "crate {name} {version} declares no licence: read its text, and add it to UNDECLARED"
        );
    }
    Ok(crates)
}

/// `name v1.2.3|MIT OR Apache-2.0 (*)`; the star is at crates that were listed before.
fn of_crate(line: &str) -> Option<Component> {
    let (package, licence) = line.split_once('|')?;
    let mut fields = package.split(' ');
    let (name, version) = (fields.next()?, fields.next()?.strip_prefix('v')?);
    // A slash is an old way to write OR.
    let licence = licence.trim_end_matches("(*)").replace('/', " OR ");
    let licence = licence.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_it = |(known, at, _): &&(&str, &str, &str)| *known == name && *at == version;
    let undeclared = UNDECLARED.iter().find(is_it).map(|(.., licence)| (*licence).to_owned());
    (!name.starts_with(OURS)).then(|| Component {
        name: name.to_owned(),
        version: version.to_owned(),
        purl: format!("pkg:cargo/{}@{}", escape(name), escape(version)),
        licence: Some(licence).filter(|licence| !licence.is_empty()).or(undeclared),
        sha256: None,
    })
}

/// The folders with the sources of these crates, by name and version.
pub(crate) fn crate_folders(
    crates: &BTreeSet<Component>,
) -> Result<BTreeMap<(&str, &str), PathBuf>> {
    let folders = registries();
    let source = |component: &Component| {
        let name = format!("{}-{}", component.name, component.version);
        folders.iter().map(|folder| folder.join(&name)).find(|folder| folder.is_dir())
    };
    let mut found = BTreeMap::new();
    for component in crates {
        // Without one, cargo takes it from elsewhere.
        let Some(folder) = source(component) else { return crate_folders_of_cargo(crates) };
        found.insert((component.name.as_str(), component.version.as_str()), folder);
    }
    Ok(found)
}

/// Where cargo has unpacked what it has built.
fn registries() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let items = cargo.and_then(|cargo| fs::read_dir(cargo.join("registry/src")).ok());
    let mut folders: Vec<PathBuf> =
        items.into_iter().flatten().flatten().map(|item| item.path()).collect();
    folders.sort();
    folders
}

/// As cargo reports them. It fetches what the tests need, too.
fn crate_folders_of_cargo(crates: &BTreeSet<Component>) -> Result<BTreeMap<(&str, &str), PathBuf>> {
    let mut cargo = sh::cargo();
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]);
    let packages = metadata(&mut cargo)?;
    let source = |component: &Component| {
        let is_it = |package: &&Crate| {
            package.name == component.name && package.version == component.version
        };
        Some(packages.iter().find(is_it)?.manifest_path.parent()?.to_path_buf())
    };
    crates
        .iter()
        .map(|component| {
            let Component { name, version, .. } = component;
            let folder = source(component);
            let folder = folder.with_context(|| format!("cargo has no {name} {version}"))?;
            Ok(((name.as_str(), version.as_str()), folder))
        })
        .collect()
}

/// Who wrote the crate with its source there.
pub(crate) fn authors(folder: &Path) -> Result<Vec<String>> {
    let mut cargo = sh::cargo();
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"]);
    let packages = metadata(cargo.arg(folder.join("Cargo.toml")))?;
    Ok(packages.into_iter().next().context("cargo names no package")?.authors)
}

#[derive(Debug, Deserialize)]
struct Crate {
    name: String,
    version: String,
    manifest_path: PathBuf,
    authors: Vec<String>,
}

fn metadata(cargo: &mut Command) -> Result<Vec<Crate>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Crate>,
    }
    let text = sh::output(cargo).context("finding the sources of crates")?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading cargo's metadata")?;
    Ok(metadata.packages)
}

/// What is not allowed in a part of a package URL.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_those_of_the_specification() {
        let package = |name: &str, version: &str, file: &str| {
            of_package(&Package {
                name: name.to_owned(),
                version: version.to_owned(),
                sha256: String::new(),
                file: file.to_owned(),
            })
            .purl
        };
        assert_eq!(
            package("libstdc++6", "1:2.0-1+b1", "libstdc++6_1%3a2.0-1+b1_amd64.deb"),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A2.0-1%2Bb1?arch=amd64"
        );
        assert_eq!(
            package("tzdata", "2026a-1", "tzdata_2026a-1_all.deb"),
            "pkg:deb/debian/tzdata@2026a-1?arch=all"
        );
        let files = ["docker.io_2.0+dfsg-1.debian.tar.xz", "docker.io_2.0+dfsg.orig.tar.xz"];
        for file in files {
            assert_eq!(
                package("docker.io", "1:2.0+dfsg-1", file),
                "pkg:deb/debian/docker.io@1%3A2.0%2Bdfsg-1?arch=source"
            );
        }
        let linked = of_line("zlib1g-dev 1:1.2.13 amd64").unwrap();
        assert_eq!(linked.purl, "pkg:deb/debian/zlib1g-dev@1%3A1.2.13?arch=amd64");
        assert_eq!(of_line(""), None);
    }

    #[test]
    fn lines_of_cargo_tree_become_components() {
        let component = of_crate("arraydeque v0.5.1|MIT/Apache-2.0 (*)").unwrap();
        assert_eq!(component.purl, "pkg:cargo/arraydeque@0.5.1");
        assert_eq!(component.licence.as_deref(), Some("MIT OR Apache-2.0"));
        let component = of_crate("fnv v1.0.7|Apache-2.0 / MIT").unwrap();
        assert_eq!(component.licence.as_deref(), Some("Apache-2.0 OR MIT"));
        assert_eq!(of_crate("corral-ros v0.1.0 (/here)|Apache-2.0"), None);
        assert_eq!(of_crate(""), None);
        assert_eq!(of_crate("x v1.0.0|").unwrap().licence, None);
        let licence = |line| of_crate(line).unwrap().licence;
        assert_eq!(licence("rust-criu v0.6.1|").as_deref(), Some("MIT"));
        assert_eq!(licence("rust-criu v99.0.0|"), None);
    }
}
