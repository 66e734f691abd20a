//! Block devices and what is on them: type, label and UUID from the superblock, without udev and
//! without mounting.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The type of what is encrypted, as blkid(8) names it.
pub const LUKS: &str = "crypto_LUKS";

/// The superblock of every type that is known lies in so many bytes from the start.
const SUPERBLOCKS: usize = 68 * 1024;

/// A file system as its superblock describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Type as mount(2) takes it: `ext4`, `vfat`, `iso9660`, `udf`, `erofs`, `xfs`, `btrfs`,
    /// `swap`; [`LUKS`] for what is encrypted.
    pub kind: &'static str,
    pub label: String,
    /// As blkid(8) prints it; empty where the type has none.
    pub uuid: String,
    /// It was not unmounted cleanly, or has errors (ext4 only).
    pub dirty: bool,
    /// In bytes, where the superblock is read for it (ext4); else 0.
    pub size: u64,
}

/// A device with a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub device: PathBuf,
    pub system: FileSystem,
}

/// Every block device that the kernel knows, by its name below /dev.
pub fn load_devices() -> Vec<PathBuf> {
    let Ok(items) = fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut devices: Vec<PathBuf> = items
        .flatten()
        .map(|item| Path::new("/dev").join(item.file_name()))
        .filter(|device| !is_without_volumes(device))
        .collect();
    devices.sort();
    devices
}

/// Every device with a file system on it.
pub fn load_volumes() -> Vec<Volume> {
    load_devices()
        .into_iter()
        .filter_map(|device| {
            load_file_system(&device).ok().flatten().map(|system| Volume { device, system })
        })
        .collect()
}

/// Reads the superblock of a device (or of a file with a file system in it). What is behind it may
/// be unreadable: a bad sector hides no state disk.
pub fn load_file_system(device: &Path) -> Result<Option<FileSystem>> {
    let mut start = vec![0_u8; SUPERBLOCKS];
    let filled = read_up_to(&open(device)?, &mut start);
    Ok(parse_file_system(&start[..filled]))
}

/// Devices that `LABEL=x`, `UUID=x` or `/dev/x` stand for. With more than one, the owner must
/// choose.
pub fn resolve(reference: &str) -> Vec<PathBuf> {
    let find = |wanted: &dyn Fn(&FileSystem) -> bool| {
        load_volumes()
            .into_iter()
            .filter(|volume| wanted(&volume.system))
            .map(|volume| volume.device)
            .collect()
    };
    if let Some(label) = reference.strip_prefix("LABEL=") {
        find(&|system| system.label == label)
    } else if let Some(uuid) = reference.strip_prefix("UUID=") {
        find(&|system| system.uuid.eq_ignore_ascii_case(uuid))
    } else {
        Some(PathBuf::from(reference)).filter(|path| path.exists()).into_iter().collect()
    }
}

/// `/dev/vda` → `/dev/vda1`, `/dev/nvme0n1` → `/dev/nvme0n1p1`.
pub fn numbered(disk: &Path, number: u32) -> PathBuf {
    let text = disk.to_string_lossy();
    let separator = if text.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    PathBuf::from(format!("{text}{separator}{number}"))
}

/// Does the hypervisor share a folder (9p over virtio) under this tag?
pub fn has_shared_folder(tag: &str) -> bool {
    let Ok(items) = fs::read_dir("/sys/bus/virtio/drivers/9pnet_virtio") else { return false };
    items.flatten().any(|item| {
        let text = fs::read_to_string(item.path().join("mount_tag")).unwrap_or_default();
        text.trim_end_matches(['\0', '\n']) == tag
    })
}

/// How many bytes a device has, as the kernel says, or a file.
pub fn size(device: &Path) -> Result<u64> {
    let data = fs::metadata(device).with_context(|| format!("examining {}", device.display()))?;
    if !data.file_type().is_block_device() {
        return Ok(data.len());
    }
    let (major, minor) = (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
    let file = format!("/sys/dev/block/{major}:{minor}/size");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let sectors: u64 = text.trim().parse().with_context(|| format!("reading {file}"))?;
    Ok(sectors.saturating_mul(512))
}

/// The first `length` bytes, or all that a smaller device has. An error if one of them cannot be
/// read.
pub fn load_start(device: &Path, length: usize) -> Result<Vec<u8>> {
    let size = usize::try_from(size(device)?).unwrap_or(usize::MAX);
    let mut start = vec![0_u8; length.min(size)];
    read_complete(&open(device)?, device, &mut start, 0)?;
    Ok(start)
}

/// Is a part of a device zero? An error if it has a byte that cannot be read, or if it is longer
/// than the device: what is there is not known.
pub fn is_zero(device: &Path, part: Range<u64>) -> Result<bool> {
    const CHUNK: usize = 1 << 20;
    let file = open(device)?;
    let zeros = vec![0_u8; CHUNK];
    let mut buffer = vec![0_u8; CHUNK];
    let mut offset = part.start;
    while offset < part.end {
        let length = usize::try_from(part.end - offset).unwrap_or(CHUNK).min(CHUNK);
        read_complete(&file, device, &mut buffer[..length], offset)?;
        if buffer[..length] != zeros[..length] {
            return Ok(false);
        }
        offset += length as u64;
    }
    Ok(true)
}

fn open(device: &Path) -> Result<File> {
    File::open(device).with_context(|| format!("opening {}", device.display()))
}

fn read_complete(file: &File, device: &Path, buffer: &mut [u8], offset: u64) -> Result<()> {
    let length = buffer.len();
    file.read_exact_at(buffer, offset).with_context(|| {
        format!("reading {length} bytes of {} from byte {offset}", device.display())
    })
}

/// RAM disks and floppies, and what has no size: loop devices and the like that are not in use.
fn is_without_volumes(device: &Path) -> bool {
    let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let size = fs::read_to_string(Path::new("/sys/class/block").join(&name).join("size"))
        .unwrap_or_default();
    size.trim() == "0" || name.starts_with("ram") || name.starts_with("fd")
}

fn read_up_to(file: &File, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(more) => filled += more,
        }
    }
    filled
}

/// The file system whose superblock is in the first bytes of a device. They may be a stranger's:
/// label and UUID are fit to be shown on a terminal, and the UUID to be part of a name.
pub fn parse_file_system(start: &[u8]) -> Option<FileSystem> {
    [
        parse_luks,
        parse_ext,
        parse_erofs,
        parse_iso9660,
        parse_udf,
        parse_xfs,
        parse_btrfs,
        parse_swap,
        parse_vfat,
    ]
    .iter()
    .find_map(|parse| parse(start))
}

fn field(bytes: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    bytes.get(offset..offset + length)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim_end().replace(char::is_control, "\u{fffd}")
}

/// A UUID that is kept as text; empty if it is none.
fn written_uuid(bytes: &[u8]) -> String {
    let found = text(bytes);
    let is_uuid = found.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_uuid { found } else { String::new() }
}

fn uuid(bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    match hex.len() {
        32 => format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        ),
        _ => hex,
    }
}

fn found(kind: &'static str, label: String, uuid: String) -> Option<FileSystem> {
    Some(FileSystem { kind, label, uuid, dirty: false, size: 0 })
}

/// <https://gitlab.com/cryptsetup/LUKS2-docs>: the two versions have the UUID at the same offset,
/// only the second has a label.
fn parse_luks(start: &[u8]) -> Option<FileSystem> {
    let header = field(start, 0, 208)?;
    let version = header.strip_prefix(b"LUKS\xba\xbe")?.get(1)?;
    let label = if *version == 2 { text(&header[24..72]) } else { String::new() };
    found(LUKS, label, written_uuid(&header[168..208]))
}

/// <https://docs.kernel.org/filesystems/ext4/super.html>
fn parse_ext(start: &[u8]) -> Option<FileSystem> {
    let block = field(start, 1024, 1024)?;
    if field(block, 0x38, 2)? != [0x53, 0xef] {
        return None;
    }
    let state = u16::from_le_bytes([block[0x3a], block[0x3b]]);
    let needs_recovery = block[0x60] & 4 != 0;
    let has_errors = state & 2 != 0;
    let number =
        |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let has_64_bits = number(0x60) & 0x80 != 0;
    let blocks =
        u64::from(number(0x4)) | if has_64_bits { u64::from(number(0x150)) << 32 } else { 0 };
    // The largest block has 64 KiB.
    let block_size = Some(number(0x18)).filter(|log| *log <= 6).map(|log| 1024_u64 << log);
    Some(FileSystem {
        kind: "ext4",
        label: text(&block[0x78..0x88]),
        uuid: uuid(&block[0x68..0x78]),
        size: block_size.and_then(|size| blocks.checked_mul(size)).unwrap_or_default(),
        dirty: needs_recovery || has_errors || state & 1 == 0,
    })
}

fn parse_erofs(start: &[u8]) -> Option<FileSystem> {
    let block = field(start, 1024, 128)?;
    (block[..4] == [0xe2, 0xe1, 0xf5, 0xe0])
        .then(|| found("erofs", text(&block[64..80]), uuid(&block[48..64])))?
}

fn parse_iso9660(start: &[u8]) -> Option<FileSystem> {
    let block = field(start, 32 * 1024, 2048)?;
    (&block[1..6] == b"CD001").then(|| found("iso9660", text(&block[40..72]), String::new()))?
}

/// The descriptors of ECMA-167, one a sector of a CD: `BEA01`, then `NSR02` or `NSR03`. The label
/// is elsewhere on the medium, and is not read.
fn parse_udf(start: &[u8]) -> Option<FileSystem> {
    const SECTOR: usize = 2048;
    let block = field(start, 32 * 1024, 2 * SECTOR)?;
    let is_udf = &block[1..6] == b"BEA01"
        && [&b"NSR02"[..], b"NSR03"].contains(&&block[SECTOR + 1..SECTOR + 6]);
    is_udf.then(|| found("udf", String::new(), String::new()))?
}

fn parse_xfs(start: &[u8]) -> Option<FileSystem> {
    let block = field(start, 0, 120)?;
    (&block[..4] == b"XFSB").then(|| found("xfs", text(&block[108..120]), uuid(&block[32..48])))?
}

fn parse_btrfs(start: &[u8]) -> Option<FileSystem> {
    let block = field(start, 64 * 1024, 0x300)?;
    (&block[0x40..0x48] == b"_BHRfS_M")
        .then(|| found("btrfs", text(&block[0x12b..0x22b]), uuid(&block[0x20..0x30])))?
}

fn parse_swap(start: &[u8]) -> Option<FileSystem> {
    (field(start, 4086, 10)? == b"SWAPSPACE2")
        .then(|| found("swap", text(&start[1052..1068]), uuid(&start[1036..1052])))?
}

fn parse_vfat(start: &[u8]) -> Option<FileSystem> {
    let boot = field(start, 0, 512)?;
    if boot[510..] != [0x55, 0xaa] {
        return None;
    }
    let (serial, label) = if &boot[82..87] == b"FAT32" {
        (&boot[67..71], &boot[71..82])
    } else if &boot[54..57] == b"FAT" {
        (&boot[39..43], &boot[43..54])
    } else {
        return None;
    };
    let serial = u32::from_le_bytes([serial[0], serial[1], serial[2], serial[3]]);
    found("vfat", text(label), format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_neither_zero_nor_short() {
        let file = std::env::temp_dir().join(format!("corral-block-{}", std::process::id()));
        fs::write(&file, [0_u8; 4096]).unwrap();
        assert_eq!(size(&file).unwrap(), 4096);
        assert_eq!(load_start(&file, 8192).unwrap(), [0_u8; 4096]);
        assert!(is_zero(&file, 0..4096).unwrap());
        assert!(is_zero(&file, 0..4097).is_err());
        fs::remove_file(&file).unwrap();
        // Nothing is mapped at its start: an I/O error.
        assert!(is_zero(Path::new("/proc/self/mem"), 0..4096).is_err());
        // A folder has a size, and cannot be read.
        let folder = std::env::temp_dir().join(format!("corral-folder-{}", std::process::id()));
        fs::create_dir_all(folder.join("below")).unwrap();
        assert!(load_start(&folder, 16).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_part_with_one_byte_is_not_zero() {
        let file = std::env::temp_dir().join(format!("corral-part-{}", std::process::id()));
        let mut bytes = vec![0_u8; (2 << 20) + 5];
        bytes[(2 << 20) + 3] = 1;
        fs::write(&file, &bytes).unwrap();
        for (part, expected) in [
            (0..bytes.len() as u64, false),
            (0..(2 << 20) + 3, true),
            ((2 << 20) + 4..bytes.len() as u64, true),
            (9..9, true),
        ] {
            assert_eq!(is_zero(&file, part.clone()).unwrap(), expected, "{part:?}");
        }
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn partitions_of_disks_that_end_in_a_digit_have_a_p() {
        for (disk, expected) in [
            ("/dev/vda", "/dev/vda1"),
            ("/dev/nvme0n1", "/dev/nvme0n1p1"),
            ("/dev/loop0", "/dev/loop0p1"),
            ("/dev/mmcblk0", "/dev/mmcblk0p1"),
        ] {
            assert_eq!(numbered(Path::new(disk), 1), Path::new(expected));
        }
    }

    #[test]
    fn a_cd_may_have_either_file_system() {
        let mut start = vec![0_u8; 40 * 1024];
        start[0x8001..0x8006].copy_from_slice(b"BEA01");
        assert_eq!(parse_file_system(&start), None);
        start[0x8801..0x8806].copy_from_slice(b"NSR02");
        assert_eq!(parse_file_system(&start).unwrap().kind, "udf");
        start[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(parse_file_system(&start).unwrap().kind, "iso9660");
    }

    #[test]
    fn a_device_that_ends_in_its_superblock_has_none() {
        for start in [&b"XFSB"[..], b"LUKS\xba\xbe\0\x02", b"", &[0_u8; 1080]] {
            assert_eq!(parse_file_system(start), None);
        }
    }

    #[test]
    fn what_a_superblock_says_is_fit_for_terminals_and_names() {
        let mut header = b"LUKS\xba\xbe\0\x02".to_vec();
        header.resize(208, 0);
        header[24..29].copy_from_slice(b"a\x1b[2J");
        header[168..176].copy_from_slice(b"../../up");
        let found = parse_file_system(&header).unwrap();
        assert_eq!((found.label.as_str(), found.uuid.as_str()), ("a\u{fffd}[2J", ""));
    }

    #[test]
    fn a_size_that_is_too_large_is_none() {
        let mut start = vec![0_u8; 2048];
        start[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        start[1024 + 0x4..1024 + 0x8].copy_from_slice(&[0xff; 4]);
        for (log, size) in [(2, u64::from(u32::MAX) << 12), (7, 0), (60, 0)] {
            start[1024 + 0x18] = log;
            assert_eq!(parse_file_system(&start).unwrap().size, size, "{log}");
        }
    }
}
