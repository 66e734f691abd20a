//! The boot partition: a FAT file system (label `CORRAL_BOOT`) that BIOS and UEFI both start from.
//! It has several versions of the system side by side, each complete in a folder of its own.
//!
//! ```text
//! boot/<version>/{vmlinuz,initrd,system.erofs,release.json,release.sig}
//! boot/<version>/drivers.{erofs,initrd} the second tier of drivers, if this machine has it
//! boot/<version>/menu.cfg               its lines in the menu of syslinux
//! loader/entries/corral-<version>*.conf its lines in the menu of systemd-boot
//! boot/global.cfg                       kernel parameters of the owner, kept over upgrades
//! boot/current.cfg, loader/loader.conf  which versions there are, and which one is the default
//! boot/trial                            an upgrade that has to prove itself
//! boot/authorized_keys                  the owner's ssh keys, for a boot without the state disk
//! ```
//!
//! FAT has no journal. So a version is written completely, flushed and read back while no menu
//! names it. The files that decide which version is booted (`current.cfg`, `loader.conf`, `trial`)
//! have one sector each and are written in place. A power loss leaves the old content or the new.
//! So does each entry of a menu when drivers are added to a version or removed.

pub mod booted;
mod menu;
mod sector;
mod trial;
mod versions;

use crate::{block, drivers};
use anyhow::{Context, Result, bail};
pub use menu::{Arguments, Variant};
use sector::write_sector;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
pub use trial::{AtBoot, Stage, Trial};
pub use versions::{BOOT_PARAMETER, VERSION_PARAMETER, Versions};

/// Label of the partition; FAT allows eleven characters.
pub const LABEL: &str = "CORRAL_BOOT";
/// The files of a version, in the order in which they are read when it boots.
pub const FILES: [&str; 3] = ["vmlinuz", "initrd", "system.erofs"];
const CURRENT: &str = "boot/current.cfg";
const GLOBAL: &str = "boot/global.cfg";
const LOADER: &str = "loader/loader.conf";
const ENTRIES: &str = "loader/entries";
/// In the folder of a version.
const MENU: &str = "menu.cfg";
const KEYS: &str = "boot/authorized_keys";

/// A mounted boot partition.
#[derive(Debug, Clone)]
pub struct BootPartition {
    root: PathBuf,
}

impl BootPartition {
    /// The partition that is mounted there.
    pub fn at(root: &Path) -> BootPartition {
        BootPartition { root: root.to_path_buf() }
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Has a system been installed there?
    pub fn is_installed(&self) -> bool {
        self.root.join(CURRENT).exists()
    }

    /// The folder of a version.
    pub fn folder(&self, version: &str) -> PathBuf {
        self.root.join("boot").join(version)
    }

    /// What the menu offers.
    pub fn versions(&self) -> Result<Versions> {
        let path = self.root.join(CURRENT);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let versions = menu::parse_current(&text);
        if versions.default.is_empty() {
            bail!("{} does not name a version", path.display());
        }
        Ok(versions)
    }

    /// Makes the menus offer these versions. This is the one step of an upgrade or rollback that
    /// takes effect.
    pub fn switch(&self, versions: &Versions) -> Result<()> {
        if let Some(missing) = versions.all().find(|version| !self.is_complete(version)) {
            bail!("version {missing} is incomplete on {}", self.root.display());
        }
        write_sector(&self.root.join(LOADER), &menu::loader_conf(versions))?;
        write_sector(&self.root.join(CURRENT), &menu::current(versions)?)
    }

    /// UEFI reads `loader.conf` and BIOS `current.cfg`. A power loss between the two writes leaves
    /// them different: the first one written (`loader.conf`) takes effect.
    pub fn repair(&self) -> Result<()> {
        let text = fs::read_to_string(self.root.join(LOADER)).unwrap_or_default();
        let versions = self.versions()?;
        match menu::parse_loader(&text) {
            Some(default) if default != versions.default && self.is_complete(&default) => {
                write_sector(
                    &self.root.join(CURRENT),
                    &menu::current(&versions.with_default(&default))?,
                )
            }
            _ => Ok(()),
        }
    }

    /// Makes the entries of each version name `drivers.initrd` exactly if it is there: a loader
    /// does not start an entry with a missing archive. Returns the versions that have lost it.
    pub fn repair_entries(&self) -> Result<Vec<String>> {
        let mut lost = Vec::new();
        for version in self.versions()?.all().filter(|version| self.is_complete(version)) {
            let has_archive = self.initrds(version).len() > 1;
            let named = self.entries_with_drivers(version);
            if named.iter().all(|named| *named == has_archive) {
                continue;
            }
            let arguments = self.load_arguments();
            if arguments.boot_reference().is_none() {
                bail!(
                    "{GLOBAL} on {} has lost the kernel parameters; the menu of version {version} \
                     stays as it is",
                    self.root.display()
                );
            }
            self.write_entries(version, &arguments)?;
            if !has_archive {
                lost.push(version.to_owned());
            }
        }
        Ok(lost)
    }

    /// For each file of the menu that a version has: does it name the drivers?
    fn entries_with_drivers(&self, version: &str) -> Vec<bool> {
        let entries = Variant::ALL
            .into_iter()
            .map(|variant| self.root.join(ENTRIES).join(menu::entry_name(version, variant)));
        let files = Some(self.folder(version).join(MENU)).into_iter().chain(entries);
        let path = format!("/boot/{version}/{}", menu::INITRDS[1]);
        files
            .filter_map(|file| fs::read(file).ok())
            .map(|text| String::from_utf8_lossy(&text).contains(&path))
            .collect()
    }

    /// Are all files of a version there?
    pub fn is_complete(&self, version: &str) -> bool {
        FILES.iter().all(|name| self.folder(version).join(name).is_file())
    }

    /// Has a version the second tier of drivers?
    pub fn has_drivers(&self, version: &str) -> bool {
        drivers::FILES.iter().all(|name| self.folder(version).join(name).is_file())
    }

    /// The archives that the kernel unpacks when a version boots, in their order. The second one
    /// finds disks also where `drivers.erofs` is lost.
    pub fn initrds(&self, version: &str) -> Vec<&'static str> {
        let [first, second] = menu::INITRDS;
        let is_there = self.folder(version).join(second).is_file();
        Some(first).into_iter().chain(is_there.then_some(second)).collect()
    }

    /// Makes the copies of the second tier part of a version that boots already. What is read back
    /// from the disk before has another name. A file without a copy is there already.
    pub fn take_drivers(&self, version: &str, arguments: &Arguments) -> Result<()> {
        for name in drivers::FILES {
            let (path, copy) = (self.folder(version).join(name), self.copy(version, name));
            if copy.exists() {
                fs::rename(copy, &path).with_context(|| format!("renaming {}", path.display()))?;
            }
        }
        if let Some(missing) =
            drivers::FILES.iter().find(|name| !self.folder(version).join(name).is_file())
        {
            bail!("version {version} has no {missing} on {}", self.root.display());
        }
        sector::flush(&self.root)?;
        self.write_entries(version, arguments)
    }

    /// Deletes the copies that an interrupted command left: they take room and were not checked.
    pub fn clear_copies(&self, version: &str) -> Result<()> {
        for copy in drivers::FILES.map(|name| self.copy(version, name)) {
            match fs::remove_file(&copy) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", copy.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn copy(&self, version: &str, name: &str) -> PathBuf {
        self.folder(version).join(name_of_copy(name))
    }

    /// Writes the menu entries of a version whose files are there. Nothing offers them before
    /// `switch`, except systemd-boot, which shows every entry there is. By itself it starts only
    /// the default.
    pub fn write_entries(&self, version: &str, arguments: &Arguments) -> Result<()> {
        let initrds = self.initrds(version);
        let blocks = menu::syslinux_entries(version, &initrds, arguments);
        sector::write_blocks(&self.folder(version).join(MENU), &blocks)?;
        for (variant, text) in menu::loader_entries(version, &initrds, arguments) {
            let name = menu::entry_name(version, variant);
            sector::write_blocks(&self.root.join(ENTRIES).join(name), &[text])?;
        }
        Ok(())
    }

    /// Removes a version: what offers it first, then its files.
    pub fn remove(&self, version: &str) -> Result<()> {
        let versions = self.versions()?;
        if versions.default == version {
            bail!("{version} is the default version and cannot be removed");
        }
        if versions.others.iter().any(|other| other == version) {
            self.switch(&versions.without(version))?;
        }
        self.clear(version)
    }

    /// Removes what there is of a version that no menu offers.
    pub fn clear(&self, version: &str) -> Result<()> {
        for variant in Variant::ALL {
            let _ =
                fs::remove_file(self.root.join(ENTRIES).join(menu::entry_name(version, variant)));
        }
        match fs::remove_dir_all(self.folder(version)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing version {version}"))
            }
            _ => sector::flush(&self.root),
        }
    }

    /// Folders of versions that nothing offers: what an upgrade left that was cut off, or an
    /// installation.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let versions = self.versions()?;
        let is_known = |name: &String| versions.all().any(|known| known == name);
        Ok(self.folders()?.into_iter().filter(|name| !is_known(name)).collect())
    }

    /// The folders of all versions.
    pub fn folders(&self) -> Result<Vec<String>> {
        let items = fs::read_dir(self.root.join("boot")).context("reading the boot partition")?;
        let names = items.flatten().filter(|item| item.path().is_dir());
        let names = names.filter_map(|item| item.file_name().into_string().ok());
        Ok(names.filter(|name| name != "syslinux").collect())
    }

    /// Bytes that the files of a version take. One that cannot be read frees nothing, and adds
    /// nothing here.
    pub fn size(&self, version: &str) -> u64 {
        let items = fs::read_dir(self.folder(version)).into_iter().flatten().flatten();
        items.filter_map(|item| item.metadata().ok()).map(|data| data.blocks() * 512).sum()
    }

    /// The owner's kernel parameters.
    pub fn load_arguments(&self) -> Arguments {
        let text = fs::read_to_string(self.root.join(GLOBAL)).unwrap_or_default();
        Arguments::parse(&text)
    }

    /// Keeps the owner's kernel parameters, and puts them into every entry of the menu.
    pub fn keep_arguments(&self, arguments: &Arguments) -> Result<()> {
        sector::write_file(&self.root.join(GLOBAL), arguments.to_file().as_bytes())?;
        if !self.is_installed() {
            return Ok(());
        }
        for version in self.versions()?.all() {
            self.write_entries(version, arguments)?;
        }
        Ok(())
    }

    /// The owner's ssh keys, for a boot without the state disk.
    pub fn load_keys(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.join(KEYS)).unwrap_or_default();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Keeps them. They are public; nothing else of the configuration is kept here.
    pub fn keep_keys(&self, keys: &[String]) -> Result<()> {
        let text: String = keys.iter().map(|key| format!("{}\n", key.trim())).collect();
        sector::write_file(&self.root.join(KEYS), text.as_bytes())
    }

    /// The upgrade that has to prove itself, if there is one.
    pub fn trial(&self) -> Option<Trial> {
        Trial::parse(&fs::read_to_string(self.root.join("boot/trial")).ok()?)
    }

    /// What the boot of `version` means for it.
    pub fn trial_at_boot(&self, version: &str) -> AtBoot {
        let default = self.versions().map(|versions| versions.default).unwrap_or_default();
        self.trial().map_or(AtBoot::Nothing, |trial| trial.at_boot(version, &default))
    }

    /// Writes the record of a trial; None: there is none any more.
    pub fn keep_trial(&self, trial: Option<&Trial>) -> Result<()> {
        let text = trial.map(Trial::to_file).unwrap_or_default();
        write_sector(&self.root.join("boot/trial"), &text)
    }

    /// Bytes that are free.
    pub fn free(&self) -> Result<u64> {
        let data = rustix::fs::statvfs(&self.root).context("reading the free space")?;
        Ok(data.f_bavail * data.f_frsize)
    }
}

/// The name of a copy that is not part of a version yet.
pub fn name_of_copy(name: &str) -> String {
    format!("{name}.new")
}

/// The partitions that this machine may have been started from: those of `corral.boot`, or all with
/// the label.
pub fn find(reference: Option<&str>) -> Vec<PathBuf> {
    let label = format!("LABEL={LABEL}");
    block::resolve(reference.unwrap_or(&label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str) -> BootPartition {
        let root = std::env::temp_dir().join(format!("corral-boot-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let partition = BootPartition::at(&root);
        for version in ["1", "2"] {
            fs::create_dir_all(partition.folder(version)).unwrap();
            for file in FILES {
                fs::write(partition.folder(version).join(file), version).unwrap();
            }
        }
        fs::create_dir_all(root.join(ENTRIES)).unwrap();
        partition
    }

    #[test]
    fn a_switch_is_seen_by_both_loaders() {
        let partition = partition("switch");
        partition.switch(&Versions { default: "1".to_owned(), others: Vec::new() }).unwrap();
        partition.switch(&partition.versions().unwrap().with_default("2")).unwrap();
        let versions = partition.versions().unwrap();
        assert_eq!(
            (versions.default.as_str(), versions.others.as_slice()),
            ("2", &["1".to_owned()][..])
        );
        for file in [CURRENT, LOADER] {
            assert_eq!(fs::metadata(partition.root.join(file)).unwrap().len(), 512);
        }
        assert!(partition.switch(&versions.with_default("3")).is_err());
        assert!(partition.remove("2").is_err());
        partition.remove("1").unwrap();
        assert_eq!(partition.versions().unwrap().others, Vec::<String>::new());
        fs::remove_dir_all(partition.root).unwrap();
    }

    #[test]
    fn a_cut_between_the_two_loaders_is_repaired() {
        let partition = partition("cut");
        partition
            .switch(&Versions { default: "1".to_owned(), others: vec!["2".to_owned()] })
            .unwrap();
        let versions = partition.versions().unwrap().with_default("2");
        write_sector(&partition.root.join(LOADER), &menu::loader_conf(&versions)).unwrap();
        partition.repair().unwrap();
        assert_eq!(partition.versions().unwrap(), versions);
        fs::remove_dir_all(partition.root).unwrap();
    }

    #[test]
    fn what_an_upgrade_left_behind_is_found_and_cleared() {
        let partition = partition("left");
        partition.switch(&Versions { default: "1".to_owned(), others: Vec::new() }).unwrap();
        assert_eq!(partition.leftovers().unwrap(), ["2"]);
        partition.clear("2").unwrap();
        assert!(partition.leftovers().unwrap().is_empty());
        fs::remove_dir_all(partition.root).unwrap();
    }

    #[test]
    fn drivers_that_are_there_are_unpacked_after_the_initrd() {
        let partition = partition("drivers");
        let arguments = Arguments::default();
        partition.write_entries("1", &arguments).unwrap();
        for name in drivers::FILES {
            fs::write(partition.folder("2").join(name_of_copy(name)), "copy").unwrap();
        }
        assert!(!partition.has_drivers("2"));
        partition.take_drivers("2", &arguments).unwrap();
        let read = |path: &str| fs::read_to_string(partition.root.join(path)).unwrap();
        assert!(read("boot/1/menu.cfg").contains("INITRD /boot/1/initrd\n"));
        assert!(read("boot/2/menu.cfg").contains("INITRD /boot/2/initrd,/boot/2/drivers.initrd\n"));
        let entry = read("loader/entries/corral-2.conf");
        assert!(entry.contains("initrd /boot/2/initrd\ninitrd /boot/2/drivers.initrd\noptions"));
        fs::remove_dir_all(partition.root).unwrap();
    }

    #[test]
    fn the_drivers_come_and_go_in_place() {
        use std::os::unix::fs::MetadataExt;
        let partition = partition("in-place");
        // An entry of more than one sector.
        let line = format!("console=ttyS0 {BOOT_PARAMETER}=LABEL=x long={}", "x".repeat(700));
        let arguments = Arguments { line };
        partition.keep_arguments(&arguments).unwrap();
        partition
            .switch(&Versions { default: "1".to_owned(), others: vec!["2".to_owned()] })
            .unwrap();
        partition.write_entries("1", &arguments).unwrap();
        let files = ["boot/1/menu.cfg", "loader/entries/corral-1-debug.conf"];
        let numbers = || files.map(|file| fs::metadata(partition.root.join(file)).unwrap().ino());
        let named = || {
            let texts = files.map(|file| fs::read_to_string(partition.root.join(file)).unwrap());
            texts.map(|text| text.contains("/boot/1/drivers.initrd"))
        };
        let before = numbers();
        for name in drivers::FILES {
            fs::write(partition.folder("1").join(name), "driver").unwrap();
        }
        assert_eq!(partition.repair_entries().unwrap(), Vec::<String>::new());
        assert_eq!((named(), numbers()), ([true; 2], before));
        // fsck.fat, or an owner. Disks are found without the image, so it is still named.
        fs::remove_file(partition.folder("1").join(drivers::FILES[0])).unwrap();
        assert_eq!(partition.repair_entries().unwrap(), Vec::<String>::new());
        assert_eq!((named(), numbers()), ([true; 2], before));
        fs::remove_file(partition.folder("1").join(drivers::FILES[1])).unwrap();
        assert_eq!(partition.repair_entries().unwrap(), ["1"]);
        assert_eq!((named(), numbers()), ([false; 2], before));
        assert_eq!(partition.repair_entries().unwrap(), Vec::<String>::new());
        // Without the parameters the entries are not written: they would not find the disk.
        fs::write(partition.folder("1").join(drivers::FILES[1]), "driver").unwrap();
        fs::remove_file(partition.root.join(GLOBAL)).unwrap();
        assert!(partition.repair_entries().is_err());
        assert_eq!((named(), numbers()), ([false; 2], before));
        fs::remove_dir_all(partition.root).unwrap();
    }

    #[test]
    fn half_of_the_drivers_is_completed() {
        let partition = partition("half");
        let [image, initrd] = drivers::FILES;
        let folder = partition.folder("1");
        fs::write(folder.join(image), "there").unwrap();
        assert!(partition.take_drivers("1", &Arguments::default()).is_err());
        for name in drivers::FILES {
            fs::write(folder.join(name_of_copy(name)), "copy").unwrap();
        }
        partition.clear_copies("1").unwrap();
        partition.clear_copies("1").unwrap();
        assert!(!folder.join(name_of_copy(image)).exists());
        fs::write(folder.join(name_of_copy(initrd)), "copy").unwrap();
        partition.take_drivers("1", &Arguments::default()).unwrap();
        assert!(partition.has_drivers("1"));
        assert_eq!(fs::read_to_string(folder.join(image)).unwrap(), "there");
        fs::remove_dir_all(partition.root).unwrap();
    }

    #[test]
    fn parameters_of_the_owner_reach_every_entry() {
        let partition = partition("arguments");
        partition
            .switch(&Versions { default: "1".to_owned(), others: vec!["2".to_owned()] })
            .unwrap();
        let arguments = Arguments::parse("# kept\nAPPEND console=ttyS0 rancher.password=\"a b\"\n");
        partition.keep_arguments(&arguments).unwrap();
        assert_eq!(partition.load_arguments(), arguments);
        for path in ["boot/1/menu.cfg", "boot/2/menu.cfg", "loader/entries/corral-2.conf"] {
            let text = fs::read_to_string(partition.root.join(path)).unwrap();
            assert!(text.contains("console=ttyS0 rancher.password=\"a b\""), "{path}: {text}");
        }
        fs::remove_dir_all(partition.root).unwrap();
    }
}
