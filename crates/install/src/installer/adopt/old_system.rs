//! The boot entry of RancherOS or BurmillaOS: what its files below `/boot` say, and what of its
//! command line a machine with Corral needs too.
//!
//! `linux-current.cfg` has the entry, `global.cfg` the command line of all entries. Layout and
//! names are those of `scripts/isolinux_label.cfg` and `cmd/control/install.go` of both projects.

use super::inside;
use anyhow::{Context, Result, bail};
use corral_machine::files::read_complete;
use std::path::{Path, PathBuf};

const FOLDER: &str = "boot";
const CURRENT: &str = "linux-current.cfg";
const GLOBAL: &str = "global.cfg";
/// What a menu may have, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Words that the installers of both systems write by themselves. Corral has its own for the same
/// purpose, or needs none.
const OF_INSTALLERS: [&str; 13] = [
    "printk.devkmsg=on",
    "rancher.state.dev=LABEL=RANCHER_STATE",
    "rancher.state.wait",
    "panic=10",
    "console=tty0",
    "transparent_hugepage=madvise",
    "iommu=pt",
    "intel_iommu=off",
    "scsi_mod.use_blk_mq=1",
    "apparmor=1",
    "security=apparmor",
    "quiet",
    // Debian's kernel hides nothing behind it, and the words there take effect as all others.
    "--",
];

/// A system that can be started by its kernel, its initrd and a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldSystem {
    /// `RancherOS v1.1.0 4.9.45-rancher`
    pub(super) title: String,
    /// Below the root of its partition.
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) command_line: String,
}

impl OldSystem {
    /// Reads it from a mounted partition.
    pub(super) fn load(root: &Path) -> Result<OldSystem> {
        let read = |name: &str| -> Result<String> {
            let path = inside::find(root, Path::new(FOLDER).join(name));
            let bytes = path.and_then(|path| read_complete(&path, LARGEST)).with_context(|| {
                format!(
                    "this is no disk of RancherOS or BurmillaOS with syslinux: reading \
                     /{FOLDER}/{name}"
                )
            })?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let system = OldSystem::parse(&read(CURRENT)?, &read(GLOBAL)?)?;
        for file in [&system.kernel, &system.initrd] {
            if !inside::find(root, file).is_ok_and(|file| file.is_file()) {
                bail!(
                    "/{}, which /{FOLDER}/{CURRENT} names, is not there; repair the old system \
                     first",
                    file.display()
                );
            }
        }
        Ok(system)
    }

    fn parse(current: &str, global: &str) -> Result<OldSystem> {
        let entries = entries(current);
        let default = values(current, "DEFAULT").next_back();
        let entry = entries
            .iter()
            .find(|entry| Some(entry.label.as_str()) == default.as_deref())
            .filter(|entry| entry.kernel.is_some())
            .or_else(|| entries.iter().find(|entry| entry.kernel.is_some()))
            .with_context(|| format!("/{FOLDER}/{CURRENT} has no entry with a kernel"))?;
        // RancherOS names both relative to the folder of syslinux, which is beside them.
        let file = |name: &Option<String>, what: &str| {
            let name = name.as_deref().and_then(|name| Path::new(name).file_name());
            let name = name.with_context(|| format!("/{FOLDER}/{CURRENT} names no {what}"))?;
            Ok::<PathBuf, anyhow::Error>(Path::new(FOLDER).join(name))
        };
        let line = entry.append.clone().or_else(|| values(global, "APPEND").next_back());
        Ok(OldSystem {
            title: entry.title.clone().unwrap_or_else(|| entry.label.clone()),
            kernel: file(&entry.kernel, "kernel")?,
            initrd: file(&entry.initrd, "initrd")?,
            command_line: line.unwrap_or_default(),
        })
    }

    /// The words of its command line that its owner has added.
    pub(super) fn owners_parameters(&self) -> String {
        let words = self.command_line.split_whitespace();
        words.filter(|word| !OF_INSTALLERS.contains(word)).collect::<Vec<&str>>().join(" ")
    }

    /// The folder of its state on the partition: `rancher.state.directory`.
    pub(super) fn directory(&self) -> Result<String> {
        let words = self.command_line.split_whitespace();
        let mut given = words.filter_map(|word| word.strip_prefix("rancher.state.directory="));
        let folder = given.next_back();
        let folder = folder.unwrap_or_default().trim_matches('/').to_owned();
        if folder.split('/').any(|part| part == "..") {
            bail!("rancher.state.directory in /{FOLDER}/{GLOBAL}: {folder:?} is outside the disk");
        }
        Ok(folder)
    }
}

#[derive(Debug, Default)]
struct Entry {
    label: String,
    title: Option<String>,
    kernel: Option<String>,
    initrd: Option<String>,
    append: Option<String>,
}

/// Keywords of syslinux may have any case.
fn value(line: &str, keyword: &str) -> Option<String> {
    let (first, rest) = line.trim().split_once(char::is_whitespace)?;
    let rest = rest.trim();
    let is_it = first.eq_ignore_ascii_case(keyword) && !rest.is_empty();
    is_it.then(|| rest.replace(char::is_control, ""))
}

fn values<'a>(text: &'a str, keyword: &'a str) -> impl DoubleEndedIterator<Item = String> + 'a {
    text.lines().filter_map(move |line| value(line, keyword))
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        if let Some(label) = value(line, "LABEL") {
            entries.push(Entry { label, ..Entry::default() });
        }
        let Some(entry) = entries.last_mut() else { continue };
        let title = value(line, "MENU").and_then(|rest| value(&rest, "LABEL"));
        entry.title = title.or(entry.title.take());
        let kernel = value(line, "KERNEL").or_else(|| value(line, "LINUX"));
        entry.kernel = kernel.or(entry.kernel.take());
        entry.initrd = value(line, "INITRD").or(entry.initrd.take());
        // The variants of an entry have the words for it here.
        if entry.kernel.is_some() {
            entry.append = value(line, "APPEND").or(entry.append.take());
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RancherOS 1.1 writes it; BurmillaOS has its own name in the titles.
    const CURRENT: &str = "
DEFAULT rancheros-v1.1.0
LABEL rancheros-v1.1.0
    SAY rancheros-v1.1.0: RancherOS v1.1.0 4.9.45-rancher
    MENU LABEL RancherOS v1.1.0 4.9.45-rancher
    KERNEL ../vmlinuz-4.9.45-rancher
    INITRD ../initrd-v1.1.0
    # see global.cfg for kernel boot parameters

LABEL rancheros-v1.1.0-autologin
    MENU LABEL Autologin on tty1 and ttyS0
    MENU INDENT 2
    COM32 cmd.c32
    APPEND rancheros-v1.1.0 rancher.autologin=tty1 rancher.autologin=ttyS0

MENU SEPARATOR
";
    const GLOBAL: &str = "APPEND printk.devkmsg=on rancher.state.dev=LABEL=RANCHER_STATE \
        rancher.state.wait console=tty0 console=ttyS0 rancher.password=rancher -- cc.hostname=a\n";

    #[test]
    fn the_entry_of_rancheros_is_read() {
        let system = OldSystem::parse(CURRENT, GLOBAL).unwrap();
        assert_eq!(system.title, "RancherOS v1.1.0 4.9.45-rancher");
        assert_eq!(system.kernel, Path::new("boot/vmlinuz-4.9.45-rancher"));
        assert_eq!(system.initrd, Path::new("boot/initrd-v1.1.0"));
        assert!(system.command_line.starts_with("printk.devkmsg=on rancher.state.dev=LABEL="));
        assert_eq!(
            system.owners_parameters(),
            "console=ttyS0 rancher.password=rancher cc.hostname=a"
        );
    }

    #[test]
    fn an_entry_may_have_a_line_of_its_own_and_be_written_on_windows() {
        let current = CURRENT
            .replace(
                "    INITRD",
                "    append only=this rancher.state.directory=/ros_subdir/\n    initrd",
            )
            .replace("KERNEL", "linux")
            .replace('\n', "\r\n");
        let system = OldSystem::parse(&current, GLOBAL).unwrap();
        assert_eq!(system.command_line, "only=this rancher.state.directory=/ros_subdir/");
        assert_eq!(system.directory().unwrap(), "ros_subdir");
        assert_eq!(system.initrd, Path::new("boot/initrd-v1.1.0"));
    }

    #[test]
    fn what_is_no_menu_or_leads_outside_is_an_error() {
        for current in ["", "LABEL a\nLOCALBOOT -1\n", "LABEL a\nKERNEL ../..\nINITRD i\n"] {
            assert!(OldSystem::parse(current, GLOBAL).is_err(), "{current}");
        }
        let outside = GLOBAL.replace("console=tty0", "rancher.state.directory=../x");
        assert!(OldSystem::parse(CURRENT, &outside).unwrap().directory().is_err());
    }
}
