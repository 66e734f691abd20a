//! Room for a new version on a boot partition: what is free there, and what may be removed for it.
//! Nothing is removed unless that is enough.

use crate::release::Release;
use crate::release::drivers::Choice;
use anyhow::{Result, bail, ensure};
use corral_machine::boot_partition::BootPartition;
use corral_machine::os_release::running_version;
use corral_terminal::size::megabytes;

/// Bytes that a FAT file system needs besides the files.
const SPARE: u64 = 4 << 20;

/// Bytes that the files of a new version can have there.
pub(super) fn available(partition: &BootPartition) -> Result<u64> {
    let (free, removable) = load(partition)?;
    Ok(free.saturating_add(removable).saturating_sub(SPARE))
}

/// Fails if a version does not fit although all that may be removed is. Removes nothing.
pub(super) fn check(partition: &BootPartition, release: &Release, drivers: &Choice) -> Result<()> {
    let (free, removable) = load(partition)?;
    let needed = needed(release);
    ensure!(
        needed <= free.saturating_add(removable),
        "the boot partition has {} free, other versions there have {} and {} are needed{}; no \
         version was removed, and the default version is unchanged",
        megabytes(free),
        megabytes(removable),
        megabytes(needed),
        drivers.hint(release)
    );
    Ok(())
}

/// Removes versions until the new one fits: first the rest of an interrupted upgrade, then the
/// oldest versions. The default and the running version stay.
pub(super) fn make(partition: &BootPartition, release: &Release) -> Result<()> {
    let needed = needed(release);
    for leftover in leftovers(partition)? {
        partition.clear(&leftover)?;
    }
    for version in removable(partition)? {
        if partition.free()? >= needed && version != release.version {
            break;
        }
        println!("removing version {version} from the boot partition");
        partition.remove(&version)?;
    }
    let free = partition.free()?;
    if free < needed {
        bail!(
            "the boot partition has {} free and {} are needed; the default version is unchanged",
            megabytes(free),
            megabytes(needed)
        );
    }
    Ok(())
}

fn needed(release: &Release) -> u64 {
    release.size().saturating_add(SPARE)
}

/// Bytes that are free, and bytes that removing versions frees.
fn load(partition: &BootPartition) -> Result<(u64, u64)> {
    let versions = leftovers(partition)?.into_iter().chain(removable(partition)?);
    Ok((partition.free()?, versions.map(|version| partition.size(&version)).sum()))
}

/// What no menu offers, but for the running version.
fn leftovers(partition: &BootPartition) -> Result<Vec<String>> {
    let running = running_version();
    Ok(partition.leftovers()?.into_iter().filter(|version| *version != running).collect())
}

/// The oldest first.
fn removable(partition: &BootPartition) -> Result<Vec<String>> {
    let running = running_version();
    let others = partition.versions()?.others.into_iter().rev();
    Ok(others.filter(|version| *version != running).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Part;
    use crate::release::drivers::When;
    use corral_machine::boot_partition::{FILES, Versions};
    use std::fs;

    /// A boot partition with the default 3, the older 2 and 1, and a leftover; 64 KiB each.
    fn partition(name: &str) -> BootPartition {
        let root = std::env::temp_dir().join(format!("corral-room-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let partition = BootPartition::at(&root);
        for version in ["1", "2", "3", "leftover"] {
            fs::create_dir_all(partition.folder(version)).unwrap();
            for file in FILES {
                fs::write(partition.folder(version).join(file), "").unwrap();
            }
            fs::write(partition.folder(version).join(FILES[2]), vec![1; 64 << 10]).unwrap();
        }
        fs::create_dir_all(root.join("loader/entries")).unwrap();
        let others = vec!["2".to_owned(), "1".to_owned()];
        partition.switch(&Versions { default: "3".to_owned(), others }).unwrap();
        partition
    }

    fn release(size: u64) -> Release {
        let part = |size| Part { name: String::new(), digest: String::new(), size };
        Release {
            version: "4".to_owned(),
            files: vec![part(size)],
            drivers: Vec::new(),
            contents: part(0),
            keeps_system_docker: true,
            manifest: Vec::new(),
            signature: String::new(),
        }
    }

    #[test]
    fn no_version_is_removed_for_one_that_does_not_fit() {
        let partition = partition("full");
        let versions = partition.versions().unwrap();
        let choice = Choice::load(When::Auto, false);
        let error = check(&partition, &release(1 << 60), &choice).unwrap_err().to_string();
        assert!(error.contains("no version was removed"), "{error}");
        assert_eq!(partition.versions().unwrap(), versions);
        assert_eq!(partition.leftovers().unwrap(), ["leftover"]);
        check(&partition, &release(1), &choice).unwrap();
        fs::remove_dir_all(partition.root()).unwrap();
    }

    #[test]
    fn what_may_be_removed_is_available() {
        let partition = partition("available");
        let (_, freed) = load(&partition).unwrap();
        // Not the default: two versions and a leftover.
        assert!((3 * (64 << 10)..4 * (64 << 10)).contains(&freed), "{freed}");
        make(&partition, &release(1)).unwrap();
        assert_eq!(partition.versions().unwrap().others, ["2", "1"], "they fit already");
        assert!(!partition.folder("leftover").exists());
        assert!(make(&partition, &release(1 << 60)).is_err());
        assert_eq!(partition.versions().unwrap().others, Vec::<String>::new());
        fs::remove_dir_all(partition.root()).unwrap();
    }
}
