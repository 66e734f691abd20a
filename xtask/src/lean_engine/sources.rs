//! The sources: packages with Go code, and Debian's source packages of what has no such package.
//! They become one tree, as Go looks for it without modules, with Debian's patches and ours.

use super::recipe::{self, Recipe, Source};
use crate::packages::{Package, Request, Versions, source};
use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where packages have their code.
const IN_PACKAGES: &str = "usr/share/gocode/src";

/// What was fetched.
#[derive(Debug)]
pub(super) struct Sources {
    packages: Vec<Package>,
    /// By the name of the source package, in the order of its recipe.
    files: BTreeMap<String, Vec<Package>>,
}

/// The unpacked sources.
#[derive(Debug)]
pub(super) struct Tree {
    /// The folder of all code. Imports are paths below it.
    code: PathBuf,
    /// Folder below `code` → the package or the source that it is from.
    owners: BTreeMap<String, String>,
}

impl Sources {
    /// Fetches those of `packages.lock`, or the newest ones into it.
    pub(super) fn fetch(recipe: &Recipe, mirror: Option<&str>, refresh: bool) -> Result<Sources> {
        let packages = request(recipe, mirror, refresh).download(is_code)?;
        let fetch = |source: &Source| {
            let (name, wanted) = of_source(source);
            let request =
                Request { name: &name, wanted: &wanted, ..request(recipe, mirror, refresh) };
            Ok((source.name.clone(), source::fetch(request, &source.name, &source.files)?))
        };
        let files = recipe.sources.iter().map(fetch).collect::<Result<_>>()?;
        Ok(Sources { packages, files })
    }

    /// Those of `packages.lock`, if it has all; nothing is fetched.
    pub(super) fn listed(recipe: &Recipe) -> Result<Option<Sources>> {
        let request = request(recipe, None, false);
        let Some(packages) = request.listed()? else { return Ok(None) };
        let mut files = BTreeMap::new();
        for source in &recipe.sources {
            let (name, wanted) = of_source(source);
            let request = Request { name: &name, wanted: &wanted, ..request };
            let Some(listed) = request.listed()? else { return Ok(None) };
            files.insert(source.name.clone(), listed);
        }
        Ok(Some(Sources { packages, files }))
    }

    /// How many files they are.
    pub(super) fn count(&self) -> usize {
        self.packages.len() + self.files.values().map(Vec::len).sum::<usize>()
    }

    /// Are these what was fetched? The compiler, which is from another release, is not compared.
    pub(super) fn have(&self, packages: &[Package]) -> bool {
        let is_same = |package: &Package| {
            let mut all = self.packages.iter().chain(self.files.values().flatten());
            all.any(|other| other.sha256 == package.sha256)
        };
        packages.iter().filter(|package| !is_compiler(package)).all(is_same)
    }

    /// Those with one of these names.
    pub(super) fn named(&self, names: &BTreeSet<String>) -> Vec<Package> {
        let all = self.packages.iter().chain(self.files.values().flatten());
        all.filter(|package| names.contains(&package.name)).cloned().collect()
    }

    /// Debian's version, without its epoch.
    pub(super) fn full_version(&self, name: &str) -> Result<String> {
        let mut all = self.files.values().flatten().chain(&self.packages);
        let package = all.find(|package| package.name == name);
        let version = &package.with_context(|| format!("{name} was not fetched"))?.version;
        Ok(version.split_once(':').map_or(version.as_str(), |(_, rest)| rest).to_owned())
    }

    /// The version as its authors call it.
    pub(super) fn version(&self, name: &str) -> Result<String> {
        let full = self.full_version(name)?;
        Ok(full.split(['+', '-', '~']).next().unwrap_or_default().to_owned())
    }

    /// Unpacks all below `work`, patched.
    pub(super) fn unpack(&self, recipe: &Recipe, work: &Path) -> Result<Tree> {
        let root = work.join("tree");
        let mut tree = Tree { code: root.join(IN_PACKAGES), owners: BTreeMap::new() };
        fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        for package in &self.packages {
            tree.unpack(package, &root)
                .with_context(|| format!("unpacking {} {}", package.name, package.version))?;
        }
        for source in &recipe.sources {
            let folder = source_folder(work, &source.name);
            unpack_source(source, &self.files[&source.name], &folder)
                .and_then(|()| tree.take(source, &folder, work))
                .with_context(|| format!("source package {}", source.name))?;
        }
        for patch in recipe::patches(recipe::OF_SOURCES)? {
            apply(&patch, &[], &tree.code, work)?;
        }
        recipe.mains.iter().try_for_each(|(path, name)| tree.rename_main(path, name))?;
        copy(&recipe::folder().join("programs"), &tree.code.join("corral"))?;
        Ok(tree)
    }
}

fn request<'a>(recipe: &'a Recipe, mirror: Option<&'a str>, refresh: bool) -> Request<'a> {
    let (suite, wanted) = (recipe.suite.as_str(), &recipe.packages);
    Request { name: "docker", suite, wanted, mirror, versions: Versions::listed_unless(refresh) }
}

/// The list of a source package, and what is taken of it.
fn of_source(source: &Source) -> (String, BTreeSet<String>) {
    (format!("docker source {}", source.name), source.files.iter().cloned().collect())
}

/// What code depends on has programs too, and even compilers.
fn is_code(package: &Package) -> bool {
    package.name.starts_with("golang-") && package.name.ends_with("-dev")
}

fn is_compiler(package: &Package) -> bool {
    package.name.ends_with("-go") || package.name.ends_with("-src")
}

impl Tree {
    /// The packages and sources of these folders.
    pub(super) fn owners(&self, folders: &[PathBuf]) -> BTreeSet<String> {
        let owner = |folder: &PathBuf| {
            let real = fs::canonicalize(folder).ok()?;
            let below =
                |folder: &Path| Some(folder.strip_prefix(&self.code).ok()?.to_str()?.to_owned());
            let paths = [below(folder.as_path()), below(real.as_path())];
            paths.into_iter().flatten().find_map(|path| self.owner(&path)).cloned()
        };
        folders.iter().filter_map(owner).collect()
    }

    /// A source has its folders with all that is below them.
    fn owner(&self, path: &str) -> Option<&String> {
        let mut above = Some(Path::new(path));
        while let Some(folder) = above {
            if let Some(owner) = self.owners.get(folder.to_str()?) {
                return Some(owner);
            }
            above = folder.parent();
        }
        None
    }

    /// Adds the code of a package, without tests.
    fn unpack(&mut self, package: &Package, root: &Path) -> Result<()> {
        let mut dpkg = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package.archive())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting dpkg-deb")?;
        let mut output = dpkg.stdout.take().context("dpkg-deb has no output")?;
        for entry in tar::Archive::new(&mut output).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let path = path.strip_prefix(".").unwrap_or(&path);
            let Ok(path) = path.strip_prefix(IN_PACKAGES) else { continue };
            let path = path.to_str().context("a path that is not UTF-8")?.to_owned();
            if entry.header().entry_type().is_dir() || path.ends_with("_test.go") {
                continue;
            }
            entry.unpack_in(root)?;
            if let Some((folder, _)) = path.rsplit_once('/') {
                self.owners.insert(folder.to_owned(), package.name.clone());
            }
        }
        // What follows the last file: dpkg-deb would fail if it could not write it.
        std::io::copy(&mut output, &mut std::io::sink())?;
        ensure!(dpkg.wait()?.success(), "dpkg-deb cannot read {}", package.file);
        Ok(())
    }

    /// Puts the folders of a source in place of those that packages have.
    fn take(&mut self, source: &Source, folder: &Path, work: &Path) -> Result<()> {
        for (from, to) in &source.folders {
            let target = self.code.join(to);
            if target.exists() {
                fs::remove_dir_all(&target)?;
                self.owners.retain(|path, _| !Path::new(path).starts_with(to));
            }
            fs::create_dir_all(target.parent().unwrap_or(&self.code))?;
            fs::rename(folder.join(from), &target).with_context(|| format!("it has no {from}"))?;
            self.owners.insert(to.clone(), source.name.clone());
        }
        if let Some(otherwise) = &source.otherwise {
            let vendored = source.folders.iter().find_map(|(from, to)| {
                let rest = Path::new(otherwise).strip_prefix(from).ok()?;
                Some(self.code.join(to).join(rest))
            });
            let vendored = vendored.unwrap_or_else(|| folder.join(otherwise));
            fs::create_dir_all(otherwise_folder(work))?;
            fs::rename(vendored, otherwise_folder(work).join("src"))
                .with_context(|| format!("it has no {otherwise}"))?;
        }
        // Go would look for packages there before it looks in the tree.
        for (_, to) in &source.folders {
            let _ = fs::remove_dir_all(self.code.join(to).join("vendor"));
        }
        Ok(())
    }

    /// Makes a program a package.
    fn rename_main(&self, path: &str, name: &str) -> Result<()> {
        let mut renamed = 0;
        let folder = self.code.join(path);
        for item in fs::read_dir(&folder).with_context(|| format!("mains: there is no {path}"))? {
            let file = item?.path();
            if file.extension().is_none_or(|end| end != "go") {
                continue;
            }
            let text = fs::read_to_string(&file)?;
            renamed += text.matches("\nfunc main() {").count();
            fs::write(&file, as_package(&text, name))?;
        }
        match renamed {
            0 => bail!("mains: {path} has no function main"),
            _ => Ok(()),
        }
    }
}

fn as_package(text: &str, name: &str) -> String {
    let line = |line: &str| match line {
        "package main" => format!("package {name}\n"),
        "func main() {" => "func Main() {\n".to_owned(),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// A source package as Debian unpacks it, without the folders that went into the tree.
pub(super) fn source_folder(work: &Path, name: &str) -> PathBuf {
    work.join("sources").join(name)
}

/// Packages that are used where the tree has none.
pub(super) fn otherwise_folder(work: &Path) -> PathBuf {
    work.join("otherwise")
}

/// Unpacks a source package as Debian does, and applies Debian's patches.
fn unpack_source(source: &Source, files: &[Package], folder: &Path) -> Result<()> {
    for package in files {
        // `.orig-cli.tar.xz` is unpacked as `cli`, Debian's own part beside the rest.
        let name = package.file.rsplit_once(".orig-").and_then(|(_, rest)| rest.split_once('.'));
        let target = name.map_or_else(|| folder.to_owned(), |(name, _)| folder.join(name));
        match package.file.contains(".orig") {
            true => unpack_original(&source::file(package), &target),
            false => unpack_archive(&source::file(package), &target),
        }
        .with_context(|| format!("unpacking {}", package.file))?;
    }
    let patches = folder.join("debian/patches");
    let series = fs::read_to_string(patches.join("series")).unwrap_or_default();
    let names = series.lines().map(str::trim).filter(|line| !line.is_empty());
    for name in names.filter(|line| !line.starts_with('#')) {
        apply(&patches.join(name), &source.changed, folder, folder)?;
    }
    Ok(())
}

/// Puts what its authors published in place of `target`. If it has a single folder at its top, that
/// is what is put there, as `dpkg-source` does it: `./cli/README.md` becomes `README.md`.
fn unpack_original(archive: &Path, target: &Path) -> Result<()> {
    let name = target.file_name().context("its target has no name")?.to_string_lossy();
    let fresh = target.with_file_name(format!("{name}.fresh"));
    let _ = fs::remove_dir_all(&fresh);
    unpack_archive(archive, &fresh)?;
    let tops = fs::read_dir(&fresh)?.collect::<Result<Vec<_>, _>>()?;
    let _ = fs::remove_dir_all(target);
    match tops.as_slice() {
        [top] if top.file_type()?.is_dir() => {
            fs::rename(top.path(), target)?;
            fs::remove_dir(&fresh)?;
        }
        _ => fs::rename(&fresh, target)?,
    }
    Ok(())
}

fn unpack_archive(archive: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    sh::output(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(target)).map(drop)
}

/// Applies a patch to these folders of `folder`, or to all. `top` is where a search for a working
/// copy around it ends: git would apply it there.
pub(super) fn apply(patch: &Path, folders: &[String], folder: &Path, top: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(folder).env("GIT_CEILING_DIRECTORIES", top.parent().unwrap_or(top));
    git.args(["apply", "-p1", "--whitespace=nowarn"]);
    git.args(folders.iter().map(|folder| format!("--include={folder}/*")));
    sh::output(git.arg(patch))
        .with_context(|| format!("{} does not fit", patch.display()))
        .map(drop)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for (path, entry) in crate::tree::read_folder(from)? {
        match entry.kind {
            crate::tree::Kind::Directory => fs::create_dir_all(to.join(path))?,
            _ => fs::copy(from.join(&path), to.join(&path)).map(drop)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_becomes_a_package() {
        let text = "// main\npackage main\n\nfunc main() {\n\tmain2()\n}\n";
        let package = "// main\npackage docker\n\nfunc Main() {\n\tmain2()\n}\n";
        assert_eq!(as_package(text, "docker"), package);
    }

    #[test]
    fn a_folder_belongs_to_the_package_that_it_is_from() {
        let owners = [("a/b/c", "one"), ("a/b", "two"), ("a", "three")];
        let tree = Tree {
            code: PathBuf::from("/nowhere"),
            owners: owners.map(|(path, name)| (path.to_owned(), name.to_owned())).into(),
        };
        assert_eq!(tree.owner("a/b/c").map(String::as_str), Some("one"));
        assert_eq!(tree.owner("a/b/d/e").map(String::as_str), Some("two"));
        assert_eq!(tree.owner("b"), None);
    }

    #[test]
    fn a_newer_version_of_what_is_linked_is_another_source() {
        let package = |name: &str, sha256: &str| Package {
            name: name.to_owned(),
            version: "1:2.3+ds1-4".to_owned(),
            sha256: sha256.to_owned(),
            file: String::new(),
        };
        let sources =
            Sources { packages: vec![package("golang-a-dev", "a")], files: BTreeMap::new() };
        assert!(sources.have(&[package("golang-a-dev", "a"), package("golang-1.26-go", "x")]));
        assert!(!sources.have(&[package("golang-a-dev", "b")]));
        assert_eq!(sources.version("golang-a-dev").unwrap(), "2.3");
        assert_eq!(sources.full_version("golang-a-dev").unwrap(), "2.3+ds1-4");
    }
}
