//! Disks of Docker Machine and boot2docker. A new one begins with a tar archive, whose first file
//! has a name that requests formatting; the others are ssh keys.
//! <https://github.com/docker/machine/blob/master/libmachine/mcnutils/b2d.go>

use crate::block;
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the first file of the archive, which is its first field.
pub const MARK: &[u8] = b"boot2docker, please format-me";
/// The label of a disk once it is formatted.
pub const LABEL: &str = "B2D_STATE";

/// Disks with the mark that can be written. Partitions are not disks.
pub fn marked_disks() -> Vec<PathBuf> {
    block::load_devices()
        .into_iter()
        .filter(|device| is_disk(device) && is_marked(device))
        .collect()
}

fn is_marked(device: &Path) -> bool {
    block::load_start(device, MARK.len()).is_ok_and(|start| start == MARK)
}

fn is_disk(device: &Path) -> bool {
    let sys = Path::new("/sys/class/block").join(device.file_name().unwrap_or_default());
    let is_writable = fs::read_to_string(sys.join("ro")).is_ok_and(|text| text.trim() == "0");
    is_writable && !sys.join("partition").exists()
}
