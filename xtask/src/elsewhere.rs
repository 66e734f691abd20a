//! `/usr/lib/corral`: the programs that a console of another image uses of ours, with their
//! libraries. They are the files of our own images, as hard links, so the folder costs no room.

use crate::elf;
use crate::layers::{Layer, matches};
use crate::private_loader::FOLDER;
use crate::recipe::Elsewhere;
use crate::tree::{Blob, Entry, Kind, Tree};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// The images whose files are used, the lowest first.
const IMAGES: [&str; 2] = ["base", "console"];
/// The loader of a program that needs one.
const LOADER: &str = "usr/lib/corral/ld.so";
/// Links within our images, which lead to a file in so many steps at most.
const STEPS: usize = 8;

/// All files of these images, by path; and the libraries among them, by name.
struct Files<'a> {
    all: BTreeMap<&'a str, &'a Entry>,
    libraries: BTreeMap<&'a str, &'a str>,
}

/// Adds the folder to the system image.
pub(crate) fn insert(system: &mut Tree, layers: &[Layer], wanted: &Elsewhere) -> Result<()> {
    let files = Files::of(layers);
    let mut tree = Tree::default();
    let loader = files.all.get(LOADER).with_context(|| format!("no image has /{LOADER}"))?;
    tree.insert("ld.so", (*loader).clone());
    for path in &wanted.programs {
        let entry = files.program(path, &wanted.programs)?;
        tree.insert(&format!("bin/{}", name(path)), entry);
    }
    for pattern in &wanted.plugins {
        files.add_plugins(pattern, &mut tree)?;
    }
    files.add_libraries(&mut tree)?;
    for path in &wanted.copies {
        let (_, entry) = files.find(path)?;
        tree.insert(&format!("etc/{}", name(path)), entry.clone());
    }
    for (path, target) in &wanted.links {
        tree.insert(path, Entry::symlink(target));
    }
    for (path, text) in &wanted.files {
        tree.insert(path, Entry::file(Blob::Bytes(text.clone().into_bytes()), 0o440));
    }
    // Where sudo has its library, see `private_loader`.
    tree.insert("s", Entry::symlink("lib64"));
    system.graft(FOLDER, &tree);
    Ok(())
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl<'a> Files<'a> {
    fn of(layers: &'a [Layer]) -> Files<'a> {
        let mut files = Files { all: BTreeMap::new(), libraries: BTreeMap::new() };
        for layer in layers.iter().filter(|layer| IMAGES.contains(&layer.name.as_str())) {
            for (path, entry) in &layer.tree.entries {
                files.all.insert(path, entry);
                if name(path).contains(".so") && !path.starts_with(FOLDER) {
                    files.libraries.insert(name(path), path);
                }
            }
        }
        files
    }

    /// The file at a path, behind all links, and its own path.
    fn find(&self, path: &str) -> Result<(String, &'a Entry)> {
        let mut path = path.trim_matches('/').to_owned();
        for _ in 0..STEPS {
            let found = self.all.get(path.as_str());
            let entry = found.with_context(|| format!("/{path} is in none of {IMAGES:?}"))?;
            let Kind::Symlink(target) = &entry.kind else { return Ok((path, entry)) };
            path = beside(&path, target);
        }
        bail!("/{path}: too many links")
    }

    /// The file, or a link to another of these programs.
    fn program(&self, path: &str, all: &[String]) -> Result<Entry> {
        let (file, entry) = self.find(path)?;
        let is_other = name(&file) != name(path);
        if is_other && all.iter().any(|other| name(other) == name(&file)) {
            return Ok(Entry::symlink(name(&file)));
        }
        Ok(entry.clone())
    }

    /// Plug-ins keep the folder that their program expects, such as `security`.
    fn add_plugins(&self, pattern: &str, tree: &mut Tree) -> Result<()> {
        let folder = pattern.rsplit('/').nth(1).unwrap_or_default();
        let below = if ["security", "xtables"].contains(&folder) { folder } else { "" };
        let found: Vec<&&str> = self.all.keys().filter(|path| matches(pattern, path)).collect();
        if found.is_empty() {
            bail!("plugins: {pattern} is in none of {IMAGES:?}");
        }
        for path in found {
            let (_, entry) = self.find(path)?;
            tree.insert(&format!("lib64/{below}/{}", name(path)).replace("//", "/"), entry.clone());
        }
        Ok(())
    }

    /// Adds the libraries that the files of `tree` need, until none is missing.
    fn add_libraries(&self, tree: &mut Tree) -> Result<()> {
        let mut open: Vec<Entry> = tree.entries.values().cloned().collect();
        while let Some(entry) = open.pop() {
            let Kind::File(blob) = &entry.kind else { continue };
            let bytes = blob.read()?;
            for library in elf::needed(&bytes) {
                let target = format!("lib64/{library}");
                if tree.contains(&target) {
                    continue;
                }
                let path = self.libraries.get(library.as_str());
                let path = path.with_context(|| format!("{library} is in none of {IMAGES:?}"))?;
                let (_, entry) = self.find(path)?;
                tree.insert(&target, entry.clone());
                open.push(entry.clone());
            }
        }
        Ok(())
    }
}

/// Where a link at `path` leads.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => path.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn a_link_leads_from_its_own_folder() {
        let cases = [
            ("usr/sbin/ip", "../bin/ip", "usr/bin/ip"),
            ("usr/sbin/getty", "/usr/bin/busybox", "usr/bin/busybox"),
            ("usr/sbin/iptables", "iptables-nft", "usr/sbin/iptables-nft"),
        ];
        for (path, target, expected) in cases {
            assert_eq!(beside(path, target), expected);
        }
    }
}
