//! Disks of Docker Machine and boot2docker. A new one begins with a tar archive, whose first file
//! has a name that requests formatting; the others are ssh keys.
//! <https://github.com/docker/machine/blob/master/libmachine/mcnutils/b2d.go>

use crate::block::{self, FileSystem};
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the first file of the archive, which is its first field.
pub const MARK: &[u8] = b"boot2docker, please format-me";
/// The label of a disk once it is formatted.
pub const LABEL: &str = "B2D_STATE";

/// Disks with the mark that can be written. Partitions are not disks.
pub fn marked_disks() -> Vec<PathBuf> {
    let disks = block::load_devices().into_iter().filter(|device| is_disk(&sys(device)));
    disks.filter(|device| is_marked(device)).collect()
}

/// Disks that were formatted for Docker Machine and can be written. boot2docker's own have
/// partitions, and are not among them.
pub fn state_disks() -> Vec<PathBuf> {
    let volumes = block::load_volumes().into_iter().filter(|volume| is_state(&volume.system));
    volumes.map(|volume| volume.device).filter(|device| is_disk(&sys(device))).collect()
}

pub fn is_marked(device: &Path) -> bool {
    block::load_start(device, MARK.len()).is_ok_and(|start| start == MARK)
}

fn is_state(system: &FileSystem) -> bool {
    system.kind == "ext4" && system.label == LABEL
}

/// The device's folder below /sys.
fn sys(device: &Path) -> PathBuf {
    Path::new("/sys/class/block").join(device.file_name().unwrap_or_default())
}

/// Is this a disk of its own, and not a partition, a loop device, an array or a part of one?
fn is_disk(sys: &Path) -> bool {
    let is_writable = fs::read_to_string(sys.join("ro")).is_ok_and(|text| text.trim() == "0");
    let has_users = fs::read_dir(sys.join("holders")).is_ok_and(|mut items| items.next().is_some());
    is_writable && !has_users && sys.join("device").exists() && !sys.join("partition").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_disk_of_its_own_is_one() {
        let base = std::env::temp_dir().join(format!("corral-sys-{}", std::process::id()));
        for (files, expected) in [
            (&["device/model"][..], true),
            (&["device/model", "holders/.keep"], false),
            (&["partition", "device/model"], false),
            (&["loop/backing_file"], false),
        ] {
            let _ = fs::remove_dir_all(&base);
            for file in files {
                let file = base.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "").unwrap();
            }
            assert!(!is_disk(&base), "{files:?}: it is not known whether it can be written");
            for (ro, expected) in [("0\n", expected), ("1\n", false)] {
                fs::write(base.join("ro"), ro).unwrap();
                assert_eq!(is_disk(&base), expected, "{files:?} {ro:?}");
            }
        }
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn the_state_is_an_ext4_with_the_label() {
        for (kind, label, expected) in
            [("ext4", LABEL, true), ("vfat", LABEL, false), ("ext4", "RANCHER_STATE", false)]
        {
            let (label, uuid) = (label.to_owned(), String::new());
            let system = FileSystem { kind, label, uuid, dirty: false, size: 0 };
            assert_eq!(is_state(&system), expected, "{system:?}");
        }
    }
}
