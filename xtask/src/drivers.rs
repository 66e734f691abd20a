//! `drivers.erofs`: the modules that the system image leaves out, and firmware; `drivers.initrd`:
//! the controllers of disks among them. Both are kept in the shared cache by the hash of what they
//! are made of.
//!
//! The index of modules in each covers both tiers: it replaces that of the first tier. The system
//! image has the same `id`, and a list of the devices that only `drivers.erofs` serves.

use crate::erofs::{self, Density, Packing};
use crate::modules::{self, Kernel};
use crate::packages::Package;
use crate::recipe::{DriverList, ModuleList};
use crate::tree::{Blob, Entry, Tree};
use crate::{durable, initrd, paths, progress};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// To be raised with each change of how the files are written.
const FORMAT: u32 = 1;
/// What the system image knows of the second tier.
const OF_SYSTEM: &str = "usr/share/ros/drivers";
/// The time of all files: nothing but the packages changes what is in them.
const EPOCH: u64 = 1_735_689_600;
/// Buses with devices that are reported, as aliases begin.
const BUSES: [&str; 3] = ["pci:", "usb:", "acpi"];
const FIRMWARE: &str = "usr/lib/firmware";

/// The modules of both tiers.
#[derive(Debug)]
pub(crate) struct Tiers {
    system: BTreeSet<String>,
    drivers: BTreeSet<String>,
    /// What both files must have in common.
    id: String,
}

/// The files of the second tier.
#[derive(Debug, Clone)]
pub(crate) struct Drivers {
    pub(crate) image: PathBuf,
    pub(crate) initrd: PathBuf,
}

impl Drivers {
    pub(crate) fn at(folder: &Path) -> Drivers {
        Drivers { image: folder.join("drivers.erofs"), initrd: folder.join("drivers.initrd") }
    }

    /// The hash of what they are made of: the name of their folder in the shared cache, where
    /// `Sources::build` has them.
    pub(crate) fn key(&self) -> String {
        let folder = self.image.parent().and_then(Path::file_name);
        folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Tiers {
    /// Chooses them.
    pub(crate) fn choose(kernel: &Kernel, list: &ModuleList) -> Result<Tiers> {
        let system = modules::of_system(kernel, list)?;
        let all = kernel.choose(&list.drivers.modules, &list.drivers.exclude)?;
        let drivers = all.difference(&system).cloned().collect();
        Ok(Tiers::of(kernel, system, drivers))
    }

    /// Those of our own kernel. No `drivers.erofs` belongs to it: the second tier is what Debian's
    /// kernel has besides, so that a device that needs it is named.
    pub(crate) fn of_own(own: &Kernel, debian: &Kernel, list: &ModuleList) -> Result<Tiers> {
        let names = own.names();
        let mut drivers = Tiers::choose(debian, list)?.drivers;
        drivers.retain(|path| !names.contains(&modules::name_of(path)));
        Ok(Tiers::of(own, own.all(), drivers))
    }

    fn of(kernel: &Kernel, system: BTreeSet<String>, drivers: BTreeSet<String>) -> Tiers {
        let mut hash = Sha256::new();
        hash.update(format!("{} {system:?} {drivers:?}", kernel.key));
        Tiers { system, drivers, id: hex::encode(hash.finalize()) }
    }

    /// Adds to the system image what it has to know; `kernel` has the modules of the second tier.
    pub(crate) fn describe(
        &self,
        kernel: &Kernel,
        list: &DriverList,
        system: &mut Tree,
    ) -> Result<()> {
        let is_reported =
            |path: &&String| list.reported.iter().any(|pattern| modules::names(pattern, path));
        let reported: BTreeSet<String> =
            self.drivers.iter().filter(is_reported).map(|path| modules::name_of(path)).collect();
        let aliases = kernel.aliases()?;
        let lines: Vec<String> = aliases
            .into_iter()
            .filter(|(pattern, module)| {
                reported.contains(module) && BUSES.iter().any(|bus| pattern.starts_with(bus))
            })
            .map(|(pattern, module)| format!("alias {pattern} {module}\n"))
            .collect();
        ensure!(!lines.is_empty(), "images/modules.yml: `reported` names no driver of a device");
        system.write(&format!("{OF_SYSTEM}/id"), format!("{}\n", self.id));
        system.write(&format!("{OF_SYSTEM}/modules.alias"), lines.concat());
        // Where the firmware is mounted.
        system.insert(FIRMWARE, Entry::directory());
        Ok(())
    }

    fn all(&self) -> BTreeSet<String> {
        self.system.union(&self.drivers).cloned().collect()
    }
}

/// What the second tier is made of.
pub(crate) struct Sources<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) list: &'a ModuleList,
    pub(crate) firmware: &'a [Package],
    /// With the program that writes EROFS.
    pub(crate) packages: &'a [Package],
    pub(crate) density: Density,
}

impl<'a> Sources<'a> {
    /// Makes both files, unless they were made of the same before.
    pub(crate) fn build(&self) -> Result<Drivers> {
        let tiers = Tiers::choose(self.kernel, self.list)?;
        let folder = paths::shared_cache("drivers").join(self.key(&tiers)?);
        if !folder.exists() {
            let fresh = folder.with_extension(std::process::id().to_string());
            self.write_into(&fresh, &tiers)?;
            publish(&fresh, &folder)?;
        }
        Ok(Drivers::at(&folder))
    }

    /// Packs both files into a folder, which is emptied first.
    fn write_into(&self, folder: &Path, tiers: &Tiers) -> Result<()> {
        clear(folder)?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let new = Drivers::at(folder);
        let packing = Packing { label: erofs::DRIVERS, density: self.density, epoch: EPOCH };
        progress::step("writing drivers.erofs", || {
            erofs::write(&self.image(tiers)?, &new.image, packing, self.packages)
        })?;
        let level = if self.density == Density::Dense { 19 } else { 3 };
        progress::step("writing drivers.initrd", || {
            initrd::write(&self.early()?, &new.initrd, EPOCH, level)
        })?;
        durable::sync(&new.image)?;
        durable::sync(&new.initrd)?;
        durable::sync(folder)
    }

    fn key(&self, tiers: &Tiers) -> Result<String> {
        let early = self.early_modules()?;
        let firmware: Vec<&str> =
            self.firmware.iter().map(|package| package.sha256.as_str()).collect();
        let tools = self.packages.iter().find(|package| package.name == erofs::PACKAGE);
        let tools = tools.context("erofs-utils was not fetched")?;
        let mut hash = Sha256::new();
        hash.update(format!(
            "{FORMAT} {} {early:?} {firmware:?} {} {:?}",
            tiers.id, tools.sha256, self.density
        ));
        Ok(hex::encode(hash.finalize()))
    }

    /// `id`, `modules/RELEASE/…` and `firmware/…`, as stage 0 mounts them.
    fn image(&self, tiers: &Tiers) -> Result<Tree> {
        let all = tiers.all();
        let mut tree = moved(&self.kernel.index(&all, "drivers")?, "usr/lib/", "");
        for path in &tiers.system {
            tree.entries.remove(&format!("modules/{}/{path}", self.kernel.release));
        }
        let firmware = self.firmware(&all)?;
        ensure!(!firmware.entries.is_empty(), "no module requests a file of the firmware packages");
        tree.graft("", &moved(&firmware, "usr/lib/", ""));
        tree.write("id", format!("{}\n", tiers.id));
        Ok(tree)
    }

    fn early_modules(&self) -> Result<BTreeSet<String>> {
        let list = self.list;
        self.kernel.choose(
            &[list.initrd.as_slice(), list.drivers.initrd.as_slice()].concat(),
            &list.drivers.not_in_initrd,
        )
    }

    /// What is unpacked over the initrd. The kernel looks for firmware in /lib.
    fn early(&self) -> Result<Tree> {
        let all = self.early_modules()?;
        let mut tree = self.kernel.index(&all, "drivers-initrd")?;
        for path in self.kernel.choose(&self.list.initrd, &[])? {
            tree.entries.remove(&format!("usr/lib/modules/{}/{path}", self.kernel.release));
        }
        tree.graft("", &moved(&self.firmware(&all)?, "usr/", ""));
        Ok(tree)
    }

    /// The files that these modules request, as far as a package has them.
    fn firmware(&self, chosen: &BTreeSet<String>) -> Result<Tree> {
        let folders: Vec<PathBuf> =
            self.firmware.iter().map(|package| package.files().join(FIRMWARE)).collect();
        let mut tree = Tree::default();
        for path in chosen {
            let file = self.kernel.file(path);
            let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            for name in requested(&bytes) {
                let mut found = folders.iter().map(|folder| folder.join(&name));
                // Some are links to others of their package.
                if let Some(file) = found.find(|file| file.is_file()) {
                    let entry = Entry::file(Blob::Host(file), 0o644);
                    tree.insert(&format!("{FIRMWARE}/{name}"), entry);
                }
            }
        }
        Ok(tree)
    }

    /// The packages of which a file of firmware is taken.
    pub(crate) fn shipped_firmware(&self) -> Result<Vec<&'a Package>> {
        let tiers = Tiers::choose(self.kernel, self.list)?;
        let tree = self.firmware(&tiers.all())?;
        Ok(crate::manifest::shipped(&[&tree], self.firmware))
    }
}

/// Gives a folder its name, unless another checkout has just made the same.
fn publish(fresh: &Path, folder: &Path) -> Result<()> {
    match durable::rename(fresh, folder) {
        Err(_) if folder.exists() => clear(fresh),
        renamed => renamed,
    }
}

/// Removes a folder, if it is there.
fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The names after `firmware=` in a module's `.modinfo`: strings that end with a zero byte.
fn requested(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0firmware=";
    let mut names = Vec::new();
    let mut rest = module;
    while let Some(at) = rest.windows(KEY.len()).position(|window| window == KEY) {
        rest = &rest[at + KEY.len()..];
        let length = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
        let name = String::from_utf8_lossy(&rest[..length]);
        if !name.is_empty() && !name.split('/').any(|part| part == "..") {
            names.push(name.into_owned());
        }
    }
    names
}

/// The entries below `from`, which are below `to` in the result.
fn moved(tree: &Tree, from: &str, to: &str) -> Tree {
    let entries: BTreeMap<String, Entry> = tree
        .entries
        .iter()
        .filter_map(|(path, entry)| {
            Some((format!("{to}{}", path.strip_prefix(from)?), entry.clone()))
        })
        .collect();
    Tree { entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_of_a_module_is_what_its_information_names() {
        let module = b"\x7fELF\0license=GPL\0firmware=qed/one.bin\0firmware=two.fw\0depends=\0";
        assert_eq!(requested(module), ["qed/one.bin", "two.fw"]);
        assert_eq!(requested(b"\0firmware=../../etc/passwd\0"), Vec::<String>::new());
        assert_eq!(requested(b"\0firmware="), Vec::<String>::new());
    }

    #[test]
    fn the_first_of_two_builds_is_kept() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("key");
        for made in ["first", "second"] {
            let fresh = cache.path().join(made);
            clear(&fresh).unwrap();
            fs::create_dir(&fresh).unwrap();
            fs::write(fresh.join("drivers.erofs"), made).unwrap();
            publish(&fresh, &folder).unwrap();
            assert!(!fresh.exists());
        }
        let drivers = Drivers::at(&folder);
        assert_eq!(fs::read_to_string(&drivers.image).unwrap(), "first");
        assert_eq!(drivers.key(), "key");
        // A file is no folder: that error is not dropped.
        assert!(clear(&drivers.image).is_err());
    }

    #[test]
    fn a_tree_moves_without_what_is_elsewhere() {
        let mut tree = Tree::default();
        tree.write("usr/lib/firmware/one", "1");
        tree.write("usr/bin/two", "2");
        let moved = moved(&tree, "usr/lib/", "lib/");
        let paths: Vec<&String> = moved.entries.keys().collect();
        assert_eq!(paths, ["lib/firmware", "lib/firmware/one"]);
    }
}
