//! The licences of everything in the system: of each part its texts, as files of this machine. What
//! is packed into the image (`packed`) and what a release has as an archive come from here.
//!
//! Debian's packages have a `copyright` file, which may refer to Debian's copies of the usual
//! licences. A crate has the texts in its source; the few that lack one get the standard text of
//! their licence (`standard`).

pub(crate) mod packed;
pub(crate) mod standard;

use crate::components::{self, Component};
use crate::packages::Package;
use crate::paths;
use crate::tree::Blob;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How names of files with licences begin, in capitals.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Whose licences are wanted.
#[derive(Debug)]
pub(crate) struct Shipped<'a> {
    /// What the image holds or is built from.
    pub(crate) packages: &'a [Package],
    /// All packages, also those of which no file is in the image.
    pub(crate) fetched: &'a [Package],
    /// The licences of a Docker that was built for the image, by the SHA-256 of the packages.
    pub(crate) docker: Option<PathBuf>,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Corral,
    /// A package of Debian.
    Debian,
    /// A source that is linked into the Docker of a release.
    Docker,
    /// A library of the build machine that is linked into our programs.
    Linked,
    Crate,
}

/// A part of the system, with its texts by name.
#[derive(Debug)]
pub(crate) struct Licensed {
    pub(crate) kind: Kind,
    pub(crate) component: Component,
    pub(crate) texts: BTreeMap<String, Blob>,
}

impl Kind {
    /// Its folder in an archive, and its name in lists.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Corral => "corral",
            Kind::Debian => "debian",
            Kind::Docker => "docker",
            Kind::Linked => "linked",
            Kind::Crate => "crate",
        }
    }
}

/// All parts, in the order of their kinds and names.
pub(crate) fn gather(shipped: &Shipped<'_>) -> Result<Vec<Licensed>> {
    let mut parts = vec![of_corral()];
    for package in shipped.packages {
        let (kind, file) = shipped.licence(package)?;
        parts.push(Licensed {
            kind,
            component: components::of_package(package),
            texts: BTreeMap::from([("copyright".to_owned(), Blob::Host(file))]),
        });
    }
    for component in components::linked()? {
        parts.push(Licensed { kind: Kind::Linked, texts: of_linked(&component)?, component });
    }
    parts.extend(of_crates()?);
    parts.sort_by(|a, b| (a.kind, &a.component).cmp(&(b.kind, &b.component)));
    // Several files of one source package are one part.
    parts.dedup_by(|a, b| (a.kind, &a.component) == (b.kind, &b.component));
    Ok(parts)
}

fn of_corral() -> Licensed {
    let version = env!("CARGO_PKG_VERSION");
    let text = |name: &str| (name.to_owned(), Blob::Host(paths::root().join(name)));
    Licensed {
        kind: Kind::Corral,
        component: Component {
            name: "corral".to_owned(),
            version: version.to_owned(),
            purl: format!("pkg:generic/corral@{version}"),
            licence: Some("Apache-2.0".to_owned()),
            sha256: None,
        },
        texts: ["LICENSE", "NOTICE"].map(text).into(),
    }
}

fn of_linked(component: &Component) -> Result<BTreeMap<String, Blob>> {
    let name = &component.name;
    let file = fs::canonicalize(format!("/usr/share/doc/{name}/copyright"))
        .with_context(|| format!("finding the licence of {name}"))?;
    Ok(BTreeMap::from([("copyright".to_owned(), Blob::Host(file))]))
}

impl Shipped<'_> {
    /// What a package is, and the file with its licence. What is linked into Docker is not unpacked
    /// here, and a package of another version may have its name.
    pub(crate) fn licence(&self, package: &Package) -> Result<(Kind, PathBuf)> {
        let linked = self.docker.as_ref().map(|folder| folder.join(&package.sha256));
        match linked.filter(|file| file.exists()) {
            Some(file) => Ok((Kind::Docker, file)),
            None => Ok((Kind::Debian, copyright(package, self.fetched)?)),
        }
    }
}

/// The file of an unpacked package.
pub(crate) fn copyright(package: &Package, all: &[Package]) -> Result<PathBuf> {
    let file = package.files().exists().then(|| find_copyright(package, all)).flatten();
    file.with_context(|| {
        format!("{} {}: there is no file with its licence", package.name, package.version)
    })
}

/// The documentation of some packages is a link to that of another one, of which nothing else may
/// be in the image.
fn find_copyright(package: &Package, all: &[Package]) -> Option<PathBuf> {
    let folder = package.files().join("usr/share/doc").join(&package.name);
    let name = match fs::read_link(&folder) {
        Ok(target) => target.file_name()?.to_string_lossy().into_owned(),
        Err(_) => package.name.clone(),
    };
    let place = format!("usr/share/doc/{name}/copyright");
    let own = package.files().join(&place);
    let of_others = all.iter().map(|package| package.files().join(&place));
    let file = [own].into_iter().chain(of_others).find(|file| file.exists())?;
    // The file itself may be a link too.
    fs::canonicalize(file).ok()
}

/// The crates that our programs are linked with.
fn of_crates() -> Result<Vec<Licensed>> {
    let crates = components::crates()?;
    let folders = components::crate_folders(&crates)?;
    let part = |component: &Component| {
        let Component { name, version, licence, .. } = component;
        let folder = &folders[&(name.as_str(), version.as_str())];
        let texts = texts_of_crate(folder, licence.as_deref().unwrap_or_default())
            .with_context(|| format!("the licence of crate {name} {version}"))?;
        Ok(Licensed { kind: Kind::Crate, component: component.clone(), texts })
    };
    crates.iter().map(part).collect()
}

fn texts_of_crate(folder: &Path, licence: &str) -> Result<BTreeMap<String, Blob>> {
    let mut texts = BTreeMap::new();
    for item in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = item.with_context(|| format!("reading {}", folder.display()))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && is_licence(&file) {
            texts.insert(file, Blob::Host(path));
        }
    }
    if texts.is_empty() {
        let (name, text) = standard::text(licence, || components::authors(folder))?;
        texts.insert(name.to_owned(), text);
    }
    Ok(texts)
}

fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_into_docker_has_its_own_licence_and_no_package_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("00aa"), "Apache-2.0").unwrap();
        let package = |sha256: &str| Package {
            name: "docker.io".to_owned(),
            version: "28.5".to_owned(),
            sha256: sha256.to_owned(),
            file: "docker.io_28.5.debian.tar.xz".to_owned(),
        };
        let docker = Some(folder.path().to_path_buf());
        let shipped = Shipped { packages: &[], fetched: &[], docker };
        let found = shipped.licence(&package("00aa")).unwrap();
        assert_eq!(found, (Kind::Docker, folder.path().join("00aa")));
        let error = shipped.licence(&package("00bb")).unwrap_err().to_string();
        assert_eq!(error, "docker.io 28.5: there is no file with its licence");
    }

    #[test]
    fn files_with_licences_are_known_by_their_names() {
        for name in ["LICENSE", "LICENSE-MIT", "license.txt", "COPYING.LIB", "UNLICENSE"] {
            assert!(is_licence(name), "{name}");
        }
        assert!(!is_licence("README.md") && !is_licence("src"));
    }
}
