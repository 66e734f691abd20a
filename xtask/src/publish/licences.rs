//! The licences of everything in the system as one archive: ours, those of Debian's packages and
//! of linked libraries (their `copyright` files, and the texts that these refer to), and those of
//! the crates.

use super::components::{self, Manifest};
use super::gzip;
use crate::packages::Package;
use crate::paths;
use crate::tree::{Blob, Entry, Tree};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Debian's copies of the usual licences, to which its packages refer.
const TEXTS: &str = "/usr/share/common-licenses";
/// How names of files with licences begin, in capitals.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Writes the archive. `fetched` are all packages, also those of which no file is in the image.
pub(super) fn write(
    manifest: &Manifest,
    fetched: &[Package],
    output: &Path,
    epoch: u64,
) -> Result<()> {
    let mut tree = Tree::default();
    for name in ["LICENSE", "NOTICE"] {
        insert(&mut tree, &format!("corral/{name}"), &paths::root().join(name));
    }
    for package in &manifest.packages {
        let file = copyright(package, fetched)
            .with_context(|| format!("package {} has no file with its licence", package.name))?;
        insert(&mut tree, &format!("debian/{}/copyright", package.name), &file);
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
    let archive = output.with_extension("tar");
    tree.write_tar(BufWriter::new(File::create(&archive)?), epoch)?;
    gzip::write(&archive, output)?;
    fs::remove_file(&archive).context("removing the unpacked archive")
}

fn insert(tree: &mut Tree, path: &str, file: &Path) {
    tree.insert(path, Entry::file(Blob::Host(file.to_path_buf()), 0o644));
}

/// The file of a package. The documentation of some packages is a link to that of another one, of
/// which nothing else may be in the image.
fn copyright(package: &Package, all: &[Package]) -> Option<PathBuf> {
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
    use super::is_licence;

    #[test]
    fn files_with_licences_are_known_by_their_names() {
        for name in ["LICENSE", "LICENSE-MIT", "license.txt", "COPYING.LIB", "UNLICENSE"] {
            assert!(is_licence(name), "{name}");
        }
        assert!(!is_licence("README.md") && !is_licence("src"));
    }
}
