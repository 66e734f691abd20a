//! The licences of what is linked: the `copyright` files of packages and of source packages, kept
//! beside the programs. Each has the SHA-256 of its package as its name.

use crate::packages::{Package, source};
use crate::sh;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Their folder, in that of a result.
pub(super) const FOLDER: &str = "licences";

/// Puts the licence of each package below `work/made`.
pub(super) fn keep(packages: &[Package], work: &Path) -> Result<()> {
    let folder = work.join("made").join(FOLDER);
    fs::create_dir_all(&folder)?;
    for package in packages {
        let text = if package.is_source() {
            of_source(&package.name, packages)
        } else {
            of_package(package, work)
        };
        let text = text.with_context(|| format!("finding the licence of {}", package.name))?;
        fs::write(folder.join(&package.sha256), text)?;
    }
    Ok(())
}

/// Of the files of a source package, one is Debian's own part.
fn of_source(name: &str, packages: &[Package]) -> Result<String> {
    let is_debians =
        |package: &&Package| package.name == name && package.file.contains(".debian.tar.");
    let package = packages.iter().find(is_debians).context("it has no part of Debian's")?;
    member(&source::file(package), "debian/copyright")
}

fn of_package(package: &Package, work: &Path) -> Result<String> {
    let archive = work.join("package.tar");
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--fsys-tarfile").arg(package.archive()).stdout(File::create(&archive)?);
    sh::output(&mut dpkg)?;
    member(&archive, &format!("./usr/share/doc/{}/copyright", package.name))
}

/// A text file in an archive.
fn member(archive: &Path, path: &str) -> Result<String> {
    sh::output(Command::new("tar").arg("-xOf").arg(archive).arg(path))
}

#[cfg(test)]
mod tests {
    use super::member;
    use crate::sh;
    use std::fs;
    use std::process::Command;

    #[test]
    fn one_file_is_read_out_of_a_packed_archive() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive.source");
        fs::create_dir(folder.path().join("debian")).unwrap();
        fs::write(folder.path().join("debian/copyright"), "Licence: none\n").unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder.path()).arg("-cJf").arg(&archive).arg("debian");
        sh::output(&mut tar).unwrap();
        assert_eq!(member(&archive, "debian/copyright").unwrap(), "Licence: none\n");
        assert!(member(&archive, "debian/control").is_err());
    }
}
