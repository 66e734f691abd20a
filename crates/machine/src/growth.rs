//! Disks that are larger than what is on them: room behind a partition, room behind the file system
//! in it.

use super::block;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// In bytes: less is what partitioning, encryption and making a file system leave over.
const ROUNDING: u64 = 32 << 20;
const SECTOR: u64 = 512;

/// A partition, and the disk that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub device: PathBuf,
    pub disk: PathBuf,
    pub number: u32,
}

/// The device whose file system holds this path.
pub fn device_of(path: &Path) -> Option<PathBuf> {
    let number = fs::metadata(path).ok()?.dev();
    Some(Path::new("/dev").join(folder_of(number)?.file_name()?))
}

/// What the kernel shows of a device.
fn folder_of(number: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()
}

/// The device as a partition, if its disk has room behind it with nothing in it.
pub fn room_behind(device: &Path) -> Option<Partition> {
    let data = fs::metadata(device).ok().filter(|data| data.file_type().is_block_device())?;
    let folder = folder_of(data.rdev())?;
    let disk = folder.parent()?;
    let read = |path: &Path, name: &str| -> Option<u64> {
        fs::read_to_string(path.join(name)).ok()?.trim().parse().ok()
    };
    let number = u32::try_from(read(&folder, "partition")?).ok()?;
    let end = read(&folder, "start")? + read(&folder, "size")?;
    let siblings = fs::read_dir(disk).ok()?.flatten();
    let starts = siblings.filter_map(|item| read(&item.path(), "start"));
    let limit = starts.filter(|start| *start >= end).chain(read(disk, "size")).min()?;
    let dev = |path: &Path| Some(Path::new("/dev").join(path.file_name()?));
    (limit.saturating_sub(end) * SECTOR > ROUNDING).then_some(Partition {
        device: dev(&folder)?,
        disk: dev(disk)?,
        number,
    })
}

/// Does the file system of the device leave room in it? Only where its superblock says how large it
/// is.
pub fn has_room_inside(device: &Path) -> bool {
    let used = block::load_file_system(device).ok().flatten().map_or(0, |system| system.size);
    let size =
        File::open(device).and_then(|mut file| file.seek(SeekFrom::End(0))).unwrap_or_default();
    used > 0 && size.saturating_sub(used) > ROUNDING
}

/// Is there anything to grow for the file system that holds this path?
pub fn is_wanted(path: &Path) -> bool {
    device_of(path).is_some_and(|device| room_behind(&device).is_some() || has_room_inside(&device))
}
