//! The licences of everything in the system and in the replacement engines as one archive: ours,
//! those of Debian's packages and of linked libraries and sources (their `copyright` files, and the
//! texts that these refer to), and those of the crates.

use super::components;
use super::gzip;
use crate::engines::Engine;
use crate::packages::Package;
use crate::paths;
use crate::tree::{Blob, Entry, Tree};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Debian's copies of the usual licences, to which its packages refer.
const TEXTS: &str = "/usr/share/common-licenses";
/// How names of files with licences begin, in capitals.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Whose licences are wanted.
#[derive(Debug)]
pub(super) struct Shipped<'a> {
    /// What the image holds or is built from.
    pub(super) packages: &'a [Package],
    /// All packages, also those of which no file is in the image.
    pub(super) fetched: &'a [Package],
    /// The licences of a Docker that was built for the image, by the SHA-256 of the packages.
    pub(super) docker: Option<PathBuf>,
    /// The replacement engines.
    pub(super) engines: &'a [Engine],
}

/// Writes the archive.
pub(super) fn write(shipped: &Shipped<'_>, output: &Path, epoch: u64) -> Result<()> {
    let mut tree = Tree::default();
    for name in ["LICENSE", "NOTICE"] {
        insert(&mut tree, &format!("corral/{name}"), &paths::root().join(name));
    }
    for package in shipped.packages {
        let (place, file) = shipped.licence(package)?;
        insert(&mut tree, &format!("{place}/{}/copyright", package.name), &file);
    }
    for engine in shipped.engines {
        for package in &engine.packages {
            let file = copyright(package, &engine.fetched)?;
            let place = format!("engines/{}/{}", engine.name, package.name);
            insert(&mut tree, &format!("{place}/copyright"), &file);
        }
    }
    for name in components::LINKED {
        let file = fs::canonicalize(format!("/usr/share/doc/{name}/copyright"))
            .with_context(|| format!("finding the licence of {name}"))?;
        insert(&mut tree, &format!("linked/{name}/copyright"), &file);
    }
    for item in fs::read_dir(TEXTS).with_context(|| format!("reading {TEXTS}"))? {
        let path = fs::canonicalize(item?.path())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        insert(&mut tree, &format!("debian/common-licenses/{name}"), &path);
    }
    insert_crates(&mut tree)?;
    gzip::write_tree(&tree, output, epoch)
}

fn insert(tree: &mut Tree, path: &str, file: &Path) {
    tree.insert(path, Entry::file(Blob::Host(file.to_path_buf()), 0o644));
}

impl Shipped<'_> {
    /// The folder in the archive, and the file. What is linked into Docker is not unpacked here,
    /// and a package of another version may have its name.
    fn licence(&self, package: &Package) -> Result<(&'static str, PathBuf)> {
        let linked = self.docker.as_ref().map(|folder| folder.join(&package.sha256));
        match linked.filter(|file| file.exists()) {
            Some(file) => Ok(("docker", file)),
            None => Ok(("debian", copyright(package, self.fetched)?)),
        }
    }
}

/// The file of an unpacked package.
fn copyright(package: &Package, all: &[Package]) -> Result<PathBuf> {
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

fn insert_crates(tree: &mut Tree) -> Result<()> {
    let used: BTreeSet<(String, String)> = components::crates()?
        .into_iter()
        .map(|component| (component.name, component.version))
        .collect();
    let mut count = 0;
    for (name, version, folder) in components::sources()? {
        if !used.contains(&(name.clone(), version.clone())) {
            continue;
        }
        count += 1;
        for item in
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let path = item?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_file() && is_licence(&file) {
                insert(tree, &format!("crates/{name}-{version}/{file}"), &path);
            }
        }
    }
    ensure!(count == used.len(), "cargo knows the sources of {count} of {} crates", used.len());
    Ok(())
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
        let shipped = Shipped { packages: &[], fetched: &[], docker, engines: &[] };
        let found = shipped.licence(&package("00aa")).unwrap();
        assert_eq!(found, ("docker", folder.path().join("00aa")));
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
