//! The old system in Corral's boot menu: its kernel and its initrd, copied to the boot partition,
//! with its own command line. Its partition has all that it needs, and keeps it.
//!
//! The copies are beside the versions of Corral, in a folder that no upgrade touches.

use super::inside;
use super::old_system::OldSystem;
use crate::installer::loader::OtherEntry;
use anyhow::{Context, Result, ensure};
use corral_engine::image::digest::digest_text;
use corral_machine::boot_partition::BootPartition;
use corral_machine::files::write_atomic;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::path::Path;

/// How the boot menu refers to it.
pub(super) const ENTRY: OtherEntry<'static> =
    OtherEntry { label: "before", file: "/before/menu.cfg" };
const FOLDER: &str = "before";
const KERNEL: &str = "vmlinuz";
const INITRD: &str = "initrd";
const MENU: &str = "menu.cfg";
/// What a kernel or an initrd may have, in bytes.
const LARGEST: u64 = 512 << 20;

/// Copies it from its mounted partition. What was written is read back from the disk.
pub(super) fn write(partition: &BootPartition, system: &OldSystem, root: &Path) -> Result<()> {
    let folder = partition.root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for (from, name) in [(&system.kernel, KERNEL), (&system.initrd, INITRD)] {
        copy(&inside::find(root, from)?, &folder.join(name))?;
    }
    write_atomic(&folder.join(MENU), entry(system).as_bytes(), 0o644)
}

/// How many bytes the copies have.
pub(super) fn size(system: &OldSystem, root: &Path) -> Result<u64> {
    let size = |path: &Path| {
        let data = fs::metadata(inside::find(root, path)?)
            .with_context(|| format!("reading /{}", path.display()))?;
        ensure!(
            data.is_file() && data.len() <= LARGEST,
            "/{} is no kernel or initrd: it is no regular file, or larger than {LARGEST} bytes",
            path.display()
        );
        Ok::<u64, anyhow::Error>(data.len())
    };
    Ok(size(&system.kernel)? + size(&system.initrd)?)
}

/// Its title in the menu.
pub(super) fn title(system: &OldSystem) -> String {
    format!("{} (before Corral)", system.title)
}

fn entry(system: &OldSystem) -> String {
    format!(
        "LABEL {}\n  MENU LABEL {}\n  KERNEL /{FOLDER}/{KERNEL}\n  INITRD /{FOLDER}/{INITRD}\n  \
         APPEND {}\n",
        ENTRY.label,
        title(system),
        system.command_line
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copying = || format!("copying {} to {}", from.display(), to.display());
    fs::copy(from, to).with_context(copying)?;
    let copied = File::options().read(true).write(true).open(to).with_context(copying)?;
    copied.sync_all().with_context(copying)?;
    fadvise(&copied, 0, None::<NonZeroU64>, Advice::DontNeed)?;
    let original = File::open(from).with_context(copying)?;
    ensure!(
        digest(copied).with_context(copying)? == digest(original).with_context(copying)?,
        "{} was damaged on its way to the disk",
        to.display()
    );
    Ok(())
}

fn digest(mut file: File) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    Ok(digest_text(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_system_is_copied_with_its_command_line() {
        let root = std::env::temp_dir().join(format!("corral-way-back-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (old, new) = (root.join("old"), root.join("new"));
        fs::create_dir_all(old.join("boot")).unwrap();
        fs::create_dir_all(&new).unwrap();
        fs::write(old.join("boot/vmlinuz-4"), "kernel").unwrap();
        fs::write(old.join("boot/initrd-v1"), "initrd of it").unwrap();
        let system = OldSystem {
            title: "RancherOS v1.1.0".to_owned(),
            kernel: "boot/vmlinuz-4".into(),
            initrd: "boot/initrd-v1".into(),
            command_line: "rancher.state.dev=LABEL=RANCHER_STATE console=tty0".to_owned(),
        };
        write(&BootPartition::at(&new), &system, &old).unwrap();
        assert_eq!(size(&system, &old).unwrap(), 18);
        let read = |name: &str| fs::read_to_string(new.join(FOLDER).join(name)).unwrap();
        assert_eq!((read(KERNEL), read(INITRD)), ("kernel".to_owned(), "initrd of it".to_owned()));
        assert_eq!(
            read(MENU),
            "LABEL before\n  MENU LABEL RancherOS v1.1.0 (before Corral)\n  \
             KERNEL /before/vmlinuz\n  INITRD /before/initrd\n  \
             APPEND rancher.state.dev=LABEL=RANCHER_STATE console=tty0\n"
        );
        // No upgrade takes it for a version that it may remove.
        let partition = BootPartition::at(&new);
        fs::create_dir_all(partition.folder("1")).unwrap();
        fs::write(new.join("boot/current.cfg"), "DEFAULT 1\nINCLUDE /boot/1/menu.cfg\n").unwrap();
        assert!(partition.leftovers().unwrap().is_empty());
        fs::remove_dir_all(root).unwrap();
    }
}
