//! The boot partition that an adoption adds: where it goes, and what may be there already.

use super::super::mounted::read_boot;
use super::super::target;
use super::table::{Extent, Room, SECTOR, Table};
use anyhow::{Context, Result, bail, ensure};
use corral_machine::block::{self, FileSystem};
use corral_machine::boot_partition::LABEL;
use corral_terminal::size;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MIB: u64 = 1 << 20;
/// What must be free on the state after it was made smaller: both systems write there.
const SPARE: u64 = 256 * MIB;
/// What the file system and the loader need besides the versions.
const OVERHEAD: u64 = 32 * MIB;
/// At the start and at the end of a partition: where file systems, arrays and volume managers have
/// what they are recognised by.
const ENDS: usize = 1 << 20;

/// What decides about the room, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) disk: u64,
    /// The file system of the state, and what is free on it.
    pub(super) state: u64,
    pub(super) free: u64,
    pub(super) release: u64,
    /// Kernel and initrd of the old system.
    pub(super) old: u64,
}

/// A second partition, if there is one, must be what an adoption left that was cut off.
pub(super) fn check(table: &Table, device: &Path) -> Result<()> {
    if table.boot.is_none() {
        return Ok(());
    }
    let start = block::load_start(device, ENDS)?;
    check_content(&start).with_context(|| device.display().to_string())?;
    if block::parse_file_system(&start).is_none() {
        return Ok(());
    }
    match read_boot(device, |partition| Ok(partition.is_installed())) {
        Ok(Some(true)) => bail!(
            "Corral is installed on {}; start it, and upgrade it by `ros os upgrade`",
            device.display()
        ),
        // Formatting was cut off; it is formatted again.
        Err(_) if !table.starts_boot() => Ok(()),
        read => read.map(drop),
    }
}

/// Is this the start of a boot partition, or of one that is not formatted yet?
fn check_content(start: &[u8]) -> Result<()> {
    match block::parse_file_system(start) {
        Some(system) if is_boot(&system) => Ok(()),
        Some(system) => bail!(
            "it holds {} labelled {:?}; RancherOS has no second partition",
            system.kind,
            system.label
        ),
        None => {
            ensure!(
                start.chunks(SECTOR as usize).all(is_of_cut_off_format),
                "it holds data of an unknown type; RancherOS has no second partition"
            );
            Ok(())
        }
    }
}

fn is_boot(system: &FileSystem) -> bool {
    system.kind == "vfat" && system.label == LABEL
}

/// Is this sector as [`clear`] or mkfs.fat(8) leaves it? After a power loss, some of the sectors
/// that mkfs.fat has written are on the disk, maybe without the first one.
fn is_of_cut_off_format(sector: &[u8]) -> bool {
    const TABLE: [u8; 12] = *b"\xf8\xff\xff\x0f\xff\xff\xff\x0f\xf8\xff\xff\x0f";
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    is_zero(sector)
        || sector.strip_prefix(&TABLE).is_some_and(is_zero)
        || sector.starts_with(b"RRaA")
        || sector.starts_with(LABEL.as_bytes())
        || block::parse_file_system(sector).is_some_and(|system| is_boot(&system))
}

/// Overwrites both ends of the room of a partition: what an older file system has left there must
/// not be taken for the content of the new partition.
pub(super) fn clear(disk: &Path, room: Extent) -> Result<()> {
    let clearing = || format!("clearing the room of the boot partition on {}", disk.display());
    let device = OpenOptions::new().write(true).open(disk).with_context(clearing)?;
    let start = room.start * SECTOR;
    let zeros = vec![0_u8; ENDS];
    device
        .write_all_at(&zeros, start)
        .and_then(|()| device.write_all_at(&zeros, start + room.bytes() - ENDS as u64))
        .and_then(|()| device.sync_all())
        .with_context(clearing)
}

/// Where the boot partition goes, if there is room for it.
pub(super) fn find_room(table: &Table, sizes: Sizes) -> Result<Room> {
    let Sizes { disk, state, free, release, old } = sizes;
    if let Some(boot) = table.boot {
        // It has its size from another release. Room for the next version is not required.
        let needed = release.saturating_add(old).saturating_add(OVERHEAD);
        ensure!(
            boot.bytes() >= needed && boot.start >= table.state.start + table.state.length,
            "its second partition has {}, and a boot partition needs {}",
            size::of_disk(boot.bytes()),
            size::of_disk(needed)
        );
        return Ok(Room { state: table.state, boot, shrinks: false });
    }
    let needed = target::boot_size(disk, release) + old.next_multiple_of(MIB);
    let room = table.room(disk, state, needed)?;
    let moved = state.saturating_sub(room.state.bytes());
    if room.shrinks && free < moved + SPARE {
        bail!(
            "there is too little room for the boot partition: {} of {} are free, and {} are \
             needed; remove data in the old system (docker system prune), or enlarge the disk by \
             {}, which also leaves the file system as it is",
            size::of_disk(free),
            size::of_disk(state),
            size::of_disk(moved + SPARE),
            size::of_disk(needed)
        );
    }
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The start of a disk with partitions of these types, starts and lengths in MiB.
    fn table(partitions: &[(u8, u64, u64)]) -> Table {
        let mut sector = vec![0; 512];
        for (number, (kind, start, length)) in partitions.iter().enumerate() {
            let at = 446 + number * 16;
            let sectors = |mib: u64| u32::try_from(mib * MIB / SECTOR).unwrap().to_le_bytes();
            sector[at + 4] = *kind;
            sector[at + 8..at + 12].copy_from_slice(&sectors(*start));
            sector[at + 12..at + 16].copy_from_slice(&sectors(*length));
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        Table::parse(&sector).unwrap()
    }

    fn fat(label: &[u8; 11]) -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[71..82].copy_from_slice(label);
        sector[82..87].copy_from_slice(b"FAT32");
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    /// 1 MiB with this at an offset.
    fn start(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut start = vec![0; ENDS];
        for (at, bytes) in parts {
            start[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        start
    }

    #[test]
    fn only_what_an_adoption_left_is_formatted() {
        let (own, other) = (fat(b"CORRAL_BOOT"), fat(b"PHOTOS     "));
        let fat = b"\xf8\xff\xff\x0f\xff\xff\xff\x0f\xf8\xff\xff\x0f";
        for parts in [
            &[][..],
            &[(0, &own[..])],
            // mkfs.fat was cut off before its first sector.
            &[(512, b"RRaA"), (6 * 512, &own), (32 * 512, fat), (800_256, b"CORRAL_BOOT\x08")],
        ] {
            check_content(&start(parts)).unwrap();
        }
        for (parts, reason) in [
            (&[(0, &other[..])][..], "vfat labelled \"PHOTOS\""),
            (&[(0, b"LUKS\xba\xbe\0\x02")], "crypto_LUKS"),
            (&[(3, b"EXFAT   ")], "unknown type"),
            (&[(3, b"NTFS    ")], "unknown type"),
            (&[(512, b"LABELONE")], "unknown type"),
            (&[(6 * 512, &other)], "unknown type"),
            (&[(ENDS - 1, b"x")], "unknown type"),
        ] {
            let why = check_content(&start(parts)).unwrap_err().to_string();
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn the_room_is_cleared_and_nothing_beside_it() {
        let disk = std::env::temp_dir().join(format!("corral-clear-{}", std::process::id()));
        fs::write(&disk, vec![7; 8 << 20]).unwrap();
        let room = Extent { start: 2 * 2048, length: 4 * 2048 };
        clear(&disk, room).unwrap();
        let found: Vec<u8> = fs::read(&disk).unwrap();
        let mib: Vec<u8> = found.chunks(1 << 20).map(|mib| mib[0]).collect();
        assert_eq!(mib, [7, 7, 0, 7, 7, 0, 7, 7]);
        assert!(found.chunks(1 << 20).all(|mib| mib.iter().all(|byte| *byte == mib[0])));
        fs::remove_file(disk).unwrap();
    }

    #[test]
    fn a_cut_off_adoption_is_completed_with_a_larger_release() {
        let gib = 1024 * MIB;
        let sizes =
            Sizes { disk: 4 * gib, state: 4 * gib, free: 2 * gib, release: 200 * MIB, old: MIB };
        let room = find_room(&table(&[(0x83, 1, 4095)]), sizes).unwrap();
        let boot = room.boot.bytes();
        let cut_off = table(&[(0x83, 1, 3500), (0x0c, 3501, boot / MIB)]);
        let larger = Sizes { release: 400 * MIB, ..sizes };
        assert!(find_room(&table(&[(0x83, 1, 4095)]), larger).unwrap().boot.bytes() > boot);
        assert_eq!(find_room(&cut_off, larger).unwrap().boot, cut_off.boot.unwrap());
        assert!(find_room(&cut_off, Sizes { release: boot, ..sizes }).is_err());
        // Behind the shrunk file system, SPARE is required.
        let full = Sizes { free: boot + SPARE - 2 * MIB, ..sizes };
        let why = find_room(&table(&[(0x83, 1, 4095)]), full).unwrap_err().to_string();
        assert!(why.contains("too little room"), "{why}");
    }
}
