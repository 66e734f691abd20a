//! The partition table: UEFI specification, chapter "GUID Partition Table". Both copies of it get
//! the identifiers of the release.

use super::raw::{u32_at, u64_at};
use crate::release::identity::{CRC32, Identity, crc};
use anyhow::{Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;

const SECTOR: u64 = 512;
/// Where the table of MBR has an identifier; GPT does not use it.
const SIGNATURE_OF_MBR: u64 = 440;
/// The largest array of entries that is read.
const LARGEST: u32 = 1 << 20;

/// A part of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// Sets the identifiers. Returns the partitions by their numbers, from zero.
pub(super) fn settle(disk: &File, identity: &Identity) -> Result<Vec<Option<Partition>>> {
    disk.write_all_at(&[0; 4], SIGNATURE_OF_MBR)?;
    let mut header = [0; SECTOR as usize];
    disk.read_exact_at(&mut header, SECTOR)?;
    let backup = u64_at(&header, 32);
    settle_copy(disk, backup, identity)?;
    settle_copy(disk, 1, identity)
}

fn settle_copy(disk: &File, sector: u64, identity: &Identity) -> Result<Vec<Option<Partition>>> {
    let mut header = [0; SECTOR as usize];
    disk.read_exact_at(&mut header, sector * SECTOR)?;
    ensure!(&header[..8] == b"EFI PART", "there is no GPT in sector {sector}");
    let length = u32_at(&header, 12) as usize;
    ensure!((92..=header.len()).contains(&length), "its header has {length} bytes");
    let (at, count, size) = (u64_at(&header, 72), u32_at(&header, 80), u32_at(&header, 84));
    ensure!(
        size >= 128 && count.saturating_mul(size) <= LARGEST,
        "{count} entries of {size} bytes"
    );
    let mut entries = vec![0; (count * size) as usize];
    disk.read_exact_at(&mut entries, at * SECTOR)?;
    let mut partitions = Vec::new();
    for (number, entry) in entries.chunks_mut(size as usize).enumerate() {
        let is_used = entry[..16] != [0; 16];
        if is_used {
            entry[16..32].copy_from_slice(&identity.guid(&format!("partition {number}")));
        }
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        partitions.push(is_used.then_some(Partition {
            start: first * SECTOR,
            bytes: (last + 1).saturating_sub(first) * SECTOR,
        }));
    }
    header[56..72].copy_from_slice(&identity.guid("disk"));
    header[88..92].copy_from_slice(&crc(CRC32, &entries).to_le_bytes());
    header[16..20].fill(0);
    let check = crc(CRC32, &header[..length]);
    header[16..20].copy_from_slice(&check.to_le_bytes());
    disk.write_all_at(&entries, at * SECTOR)?;
    disk.write_all_at(&header, sector * SECTOR)?;
    Ok(partitions)
}
