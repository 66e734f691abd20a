//! Recipes → layers: the files of packages that a recipe names, the libraries that they need, and
//! our own files.

use crate::packages::Package;
use crate::recipe::Recipe;
use crate::tree::{Blob, Entry, Kind, Tree, read_folder};
use crate::{elf, paths, private_loader, sh, stub};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// An image's own layer, and the names of all layers it stands on, lowest first.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) recipe: Recipe,
    pub(crate) tree: Tree,
    pub(crate) stack: Vec<String>,
    /// Of the package that its recipe names.
    pub(crate) version: Option<String>,
}

/// Every file of every package that was fetched, by path; and the libraries among them, by name.
struct PackageTree {
    files: BTreeMap<String, BTreeMap<String, Entry>>,
    libraries: BTreeMap<String, (String, Entry)>,
}

/// Makes the layer of each recipe; a layer comes after the one it stands on.
pub(crate) fn build(recipes: &[(String, Recipe)], packages: &[Package]) -> Result<Vec<Layer>> {
    let package_tree = PackageTree::open(packages)?;
    let mut layers: Vec<Layer> = Vec::new();
    let mut open: Vec<&(String, Recipe)> = recipes.iter().collect();
    while !open.is_empty() {
        let ready = |(_, recipe): &(String, Recipe)| {
            recipe.from.as_ref().is_none_or(|below| layers.iter().any(|layer| &layer.name == below))
        };
        let Some(position) = open.iter().position(|item| ready(item)) else {
            bail!("images/{}/image.yml: `from` names no image, or goes in a cycle", open[0].0);
        };
        let (name, recipe) = open.remove(position);
        let below =
            recipe.from.as_ref().and_then(|below| layers.iter().find(|layer| &layer.name == below));
        let mut stack = below.map(|layer| layer.stack.clone()).unwrap_or_default();
        let under: Vec<&Tree> = stack
            .iter()
            .filter_map(|name| layers.iter().find(|layer| &layer.name == name))
            .map(|l| &l.tree)
            .collect();
        let tree = package_tree
            .layer(name, recipe, &under)
            .with_context(|| format!("images/{name}/image.yml"))?;
        stack.push(name.clone());
        let version = version(recipe, packages)?;
        layers.push(Layer { name: name.clone(), recipe: recipe.clone(), tree, stack, version });
    }
    Ok(layers)
}

/// The files of an engine, which stands on no other image.
pub(crate) fn alone(name: &str, recipe: &Recipe, packages: &[Package]) -> Result<Tree> {
    PackageTree::open(packages)?
        .layer(name, recipe, &[])
        .with_context(|| format!("images/{name}.yml"))
}

/// Debian's version of the package that a recipe names, as its authors call it: without what Debian
/// adds.
pub(crate) fn version(recipe: &Recipe, packages: &[Package]) -> Result<Option<String>> {
    let Some(name) = &recipe.version else { return Ok(None) };
    let package = packages.iter().find(|package| &package.name == name);
    let version = &package.with_context(|| format!("version: {name} was not fetched"))?.version;
    let bare = version.split_once(':').map_or(version.as_str(), |(_, rest)| rest);
    Ok(bare.split(['+', '-', '~']).next().map(str::to_owned))
}

impl PackageTree {
    fn open(packages: &[Package]) -> Result<PackageTree> {
        let mut package_tree = PackageTree { files: BTreeMap::new(), libraries: BTreeMap::new() };
        for package in packages {
            let files: BTreeMap<String, Entry> = read_folder(&package.files())?
                .into_iter()
                .map(|(path, entry)| (merge_usr(&path), entry))
                .collect();
            for (path, entry) in &files {
                let name = path.rsplit('/').next().unwrap_or_default();
                if name.contains(".so")
                    && !matches!(entry.kind, Kind::Directory)
                    && is_library_path(path)
                {
                    package_tree.libraries.insert(name.to_owned(), (path.clone(), entry.clone()));
                }
            }
            package_tree.files.insert(package.name.clone(), files);
        }
        Ok(package_tree)
    }

    fn layer(&self, name: &str, recipe: &Recipe, under: &[&Tree]) -> Result<Tree> {
        let mut tree = Tree::default();
        self.take_files(recipe, &mut tree)?;
        self.take_libraries(&recipe.stubs, &mut tree, under)?;
        use_our_loader(&mut tree)?;
        if recipe.loader {
            add_loader(&mut tree)?;
        }
        if recipe.busybox {
            link_busybox(&mut tree)?;
        }
        if recipe.certificates {
            bundle_certificates(&mut tree)?;
        }
        for (path, mode) in &recipe.folders {
            tree.insert(path, Entry { mode: octal(mode)?, ..Entry::directory() });
        }
        for (path, target) in &recipe.links {
            tree.insert(path, Entry::symlink(target));
        }
        let own = paths::root().join("images").join(name).join("rootfs");
        if own.exists() {
            tree.insert_folder(&own)?;
        }
        for (path, mode) in &recipe.modes {
            let entry = tree.entries.get_mut(path.trim_matches('/'));
            entry.with_context(|| format!("modes: {path} is not in the image"))?.mode =
                octal(mode)?;
        }
        Ok(tree)
    }

    fn take_files(&self, recipe: &Recipe, tree: &mut Tree) -> Result<()> {
        let mut unused: BTreeSet<&String> = recipe.files.iter().collect();
        for package in &recipe.packages {
            let files = self
                .files
                .get(package)
                .with_context(|| format!("package {package} was not fetched"))?;
            for (path, entry) in files {
                let Some(pattern) = recipe.files.iter().find(|pattern| matches(pattern, path))
                else {
                    continue;
                };
                unused.remove(pattern);
                if !matches!(entry.kind, Kind::Directory)
                    && !recipe.exclude.iter().any(|p| matches(p, path))
                {
                    tree.insert(path, entry.clone());
                }
            }
        }
        match unused.first() {
            Some(pattern) => {
                bail!("files: {pattern} is in none of the packages {:?}", recipe.packages)
            }
            None => Ok(()),
        }
    }

    /// Adds the libraries that the programs of `tree` need and that no layer below has, until none
    /// is missing. `stubs` are added without their code.
    fn take_libraries(&self, stubs: &[String], tree: &mut Tree, under: &[&Tree]) -> Result<()> {
        let mut open: Vec<Entry> = tree.entries.values().cloned().collect();
        while let Some(entry) = open.pop() {
            let Kind::File(blob) = &entry.kind else { continue };
            for library in elf::needed(&blob.read()?) {
                let (path, entry) = self.libraries.get(&library).with_context(|| {
                    format!("library {library} is in none of the packages fetched")
                })?;
                if tree.contains(path) || under.iter().any(|below| below.contains(path)) {
                    continue;
                }
                if stubs.contains(&library) {
                    let stub =
                        self.stub(path, entry).with_context(|| format!("stubs: {library}"))?;
                    tree.insert(path, stub);
                    continue;
                }
                open.push(self.take_library(path, entry, tree)?);
            }
        }
        for library in stubs {
            let found = self.libraries.get(library);
            let is_used = found.is_some_and(|(path, _)| tree.contains(path));
            ensure!(is_used, "stubs: no program needs {library}");
        }
        Ok(())
    }

    /// Adds a library. If it is a link, the file behind it is added too and returned.
    fn take_library(&self, path: &str, entry: &Entry, tree: &mut Tree) -> Result<Entry> {
        tree.insert(path, entry.clone());
        let (path, entry) = self.behind(path, entry)?;
        tree.insert(path, entry.clone());
        Ok(entry.clone())
    }

    /// A library without its code, as a file in the place of a link to it.
    fn stub(&self, path: &str, entry: &Entry) -> Result<Entry> {
        let (path, entry) = self.behind(path, entry)?;
        let Kind::File(blob) = &entry.kind else { bail!("{path} is not a file") };
        Ok(Entry::file(Blob::Bytes(stub::of(&blob.read()?)?), entry.mode))
    }

    /// The file of a library that may be a link to it.
    fn behind<'a>(&'a self, path: &'a str, entry: &'a Entry) -> Result<(&'a str, &'a Entry)> {
        let Kind::Symlink(target) = &entry.kind else { return Ok((path, entry)) };
        let name = target.rsplit('/').next().unwrap_or_default();
        let (path, entry) = self
            .libraries
            .get(name)
            .with_context(|| format!("{path} links to {target}, not found"))?;
        Ok((path, entry))
    }
}

fn is_library_path(path: &str) -> bool {
    ["usr/lib/", "usr/lib64/", "usr/libexec/"].iter().any(|top| path.starts_with(top))
}

/// Debian's merged /usr: files that a package still ships below /bin, /sbin or /lib go below /usr.
fn merge_usr(path: &str) -> String {
    let moved = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|top| path.starts_with(top));
    if moved { format!("usr/{path}") } else { path.to_owned() }
}

/// `*` matches within a name, `**` at the end everything below.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_start_matches('/');
    match pattern.strip_suffix("/**") {
        Some(folder) => path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        None => glob(pattern, path),
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            let reach = tail.find('/').unwrap_or(tail.len());
            (0..=reach).filter(|at| tail.is_char_boundary(*at)).any(|at| glob(rest, &tail[at..]))
        }),
    }
}

/// Debian makes this file when the package is installed; here no package is ever installed.
fn bundle_certificates(tree: &mut Tree) -> Result<()> {
    let is_single =
        |path: &String| path.starts_with("usr/share/ca-certificates/") && path.ends_with(".crt");
    let singles: Vec<String> =
        tree.entries.keys().filter(|path| is_single(path)).cloned().collect();
    let mut bundle = Vec::new();
    for path in &singles {
        if let Some(Entry { kind: Kind::File(blob), .. }) = tree.entries.remove(path) {
            bundle.extend(blob.read()?);
        }
    }
    if bundle.is_empty() {
        bail!("certificates: true, but no certificate is among the files");
    }
    tree.write("etc/ssl/certs/ca-certificates.crt", bundle);
    Ok(())
}

/// Programs start with our loader in every image, so that they are in the system image once.
fn use_our_loader(tree: &mut Tree) -> Result<()> {
    for entry in tree.entries.values_mut() {
        let Kind::File(blob) = &entry.kind else { continue };
        let Blob::Host(path) = blob else { continue };
        if private_loader::concerns(&blob.read()?) {
            entry.kind = Kind::File(Blob::Program(path.clone()));
        }
    }
    Ok(())
}

/// The loader, and its folders of libraries: Debian's own, of all layers.
fn add_loader(tree: &mut Tree) -> Result<()> {
    const OF_DEBIAN: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    let Some(Entry { kind: Kind::File(blob), .. }) = tree.entries.get(OF_DEBIAN) else {
        bail!("loader: true, but /{OF_DEBIAN} is not among the files");
    };
    let bytes = private_loader::OF_CONSOLES.of_debians(blob.read()?)?;
    let path = |name: &str| format!("{}/{name}", private_loader::FOLDER);
    tree.insert(&path("ld.so"), Entry::file(Blob::Bytes(bytes), 0o755));
    tree.insert(&path("lib64"), Entry::symlink("../x86_64-linux-gnu"));
    tree.insert(&path("s"), Entry::symlink("../../libexec/sudo"));
    Ok(())
}

fn link_busybox(tree: &mut Tree) -> Result<()> {
    let Some(Entry { kind: Kind::File(Blob::Host(program)), .. }) =
        tree.entries.get("usr/bin/busybox")
    else {
        bail!("busybox: true, but /usr/bin/busybox is not among the files");
    };
    for applet in applets(program)? {
        if !tree.contains(&applet) {
            tree.insert(&applet, Entry::symlink("/usr/bin/busybox"));
        }
    }
    Ok(())
}

/// The paths of busybox's applets, in merged /usr.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let list = sh::output(Command::new(busybox).arg("--list-full"))?;
    Ok(list
        .lines()
        .map(merge_usr)
        .filter(|path| path != "usr/bin/busybox" && path.starts_with("usr/"))
        .collect())
}

/// Reads an octal mode.
pub(crate) fn octal(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8).with_context(|| format!("{text:?} is not an octal mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stays_within_a_name_and_two_stars_go_below() {
        let cases = [
            ("/usr/lib/udev/**", "usr/lib/udev/rules.d/50.rules", true),
            ("/usr/lib/udev/**", "usr/lib/udevd", false),
            ("/usr/bin/ssh*", "usr/bin/ssh-keygen", true),
            ("/usr/bin/ssh*", "usr/bin/ssh/x", false),
            ("/usr/lib/*/libnss_*.so.2", "usr/lib/x86_64-linux-gnu/libnss_dns.so.2", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches(pattern, path), expected, "{pattern} against {path}");
        }
    }
}
