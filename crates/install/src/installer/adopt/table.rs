//! The partition table of a disk that RancherOS installed, in the one sector of its MBR: what is
//! accepted, where the boot partition goes, and the sector that has it. Pure.
//!
//! Each change of the disk is one of these sectors, which a disk writes completely or not at all.

use super::super::loader::BOOT_CODE;
use anyhow::{Context, Result, bail, ensure};

pub(super) const SECTOR: u64 = 512;
/// Sectors: partitions begin at multiples of 1 MiB.
const ALIGNMENT: u64 = 2048;
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
const LINUX: u8 = 0x83;
/// FAT32, addressed by sectors.
const FAT: u8 = 0x0c;
const GPT: u8 = 0xee;
const ACTIVE: u8 = 0x80;
/// Cylinder, head and sector of what lies beyond their range.
const NO_GEOMETRY: [u8; 3] = [0xfe, 0xff, 0xff];

/// The first sector of a disk.
pub(super) type Sector = [u8; SECTOR as usize];

/// Where a partition is, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// The table of a disk with RancherOS: its one partition, and perhaps the boot partition of an
/// adoption that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    sector: Sector,
    pub(super) state: Extent,
    pub(super) boot: Option<Extent>,
}

/// Where the boot partition goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) state: Extent,
    pub(super) boot: Extent,
    /// The file system of the state has to become smaller first.
    pub(super) shrinks: bool,
}

impl Extent {
    fn end(self) -> u64 {
        self.start + self.length
    }

    pub(super) fn bytes(self) -> u64 {
        self.length * SECTOR
    }
}

impl Table {
    /// Reads the first sector of a disk. Every layout but RancherOS's own is an error.
    pub(super) fn parse(sector: &[u8]) -> Result<Table> {
        let sector: Sector = sector.try_into().context("the disk has no first sector")?;
        ensure!(
            sector[510..] == [0x55, 0xaa],
            "it has no partition table; RancherOS installs onto disks with an MBR"
        );
        let kinds: Vec<u8> = (0..4).map(|number| entry(&sector, number)[4]).collect();
        if kinds.contains(&GPT) {
            bail!(
                "it has a GPT (RancherOS: gptsyslinux), and only disks with an MBR are adopted; \
                 install Corral onto another disk, and copy /home, /opt and the configuration"
            );
        }
        match kinds[..] {
            [LINUX, 0, 0, 0] => Ok(Table { state: extent(&entry(&sector, 0)), boot: None, sector }),
            [LINUX, FAT, 0, 0] => Ok(Table {
                state: extent(&entry(&sector, 0)),
                boot: Some(extent(&entry(&sector, 1))),
                sector,
            }),
            _ => bail!(
                "the layout is unknown: RancherOS has one partition of type 83, this disk has \
                 partitions of the types {}",
                types(&kinds)
            ),
        }
    }

    /// Is the boot partition started? It has the old system by then.
    pub(super) fn starts_boot(&self) -> bool {
        self.boot.is_some() && self.sector[ENTRIES + ENTRY] == ACTIVE
    }

    /// Where a boot partition of so many bytes goes: to the end of the disk, so that the state can
    /// grow into what is free before it. `used` are the bytes of the file system of the state.
    pub(super) fn room(&self, disk: u64, used: u64, boot: u64) -> Result<Room> {
        // The table has 32 bits for a sector.
        let end = (disk / SECTOR).min(u64::from(u32::MAX));
        let length = boot.div_ceil(SECTOR).next_multiple_of(ALIGNMENT);
        let start = end.saturating_sub(length) / ALIGNMENT * ALIGNMENT;
        ensure!(
            start > self.state.start && self.state.end() <= disk / SECTOR,
            "the partition ends behind the disk, or the disk is too small for a boot partition"
        );
        let state = Extent {
            start: self.state.start,
            length: self.state.length.min(start - self.state.start),
        };
        Ok(Room { state, boot: Extent { start, length }, shrinks: used > state.bytes() })
    }

    /// The sector with the boot partition. The old one is still started.
    pub(super) fn with_boot(&self, room: Room) -> Result<Sector> {
        let mut sector = self.sector;
        let kept = entry(&sector, 0);
        put(&mut sector, 0, with_extent(kept, room.state)?);
        let mut boot = [0; ENTRY];
        boot[4] = FAT;
        put(&mut sector, 1, with_extent(boot, room.boot)?);
        Ok(sector)
    }

    /// The sector by which the boot partition is started.
    pub(super) fn starting_boot(&self, code: &[u8]) -> Result<Sector> {
        ensure!(self.boot.is_some() && code.len() == BOOT_CODE, "no boot partition to start");
        let mut sector = self.sector;
        sector[..BOOT_CODE].copy_from_slice(code);
        for (number, active) in [(0, 0), (1, ACTIVE)] {
            sector[ENTRIES + number * ENTRY] = active;
        }
        Ok(sector)
    }
}

fn entry(sector: &Sector, number: usize) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    let start = ENTRIES + number * ENTRY;
    entry.copy_from_slice(&sector[start..start + ENTRY]);
    entry
}

fn put(sector: &mut Sector, number: usize, entry: [u8; ENTRY]) {
    let start = ENTRIES + number * ENTRY;
    sector[start..start + ENTRY].copy_from_slice(&entry);
}

fn extent(entry: &[u8; ENTRY]) -> Extent {
    let number = |at: usize| {
        u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]))
    };
    Extent { start: number(8), length: number(12) }
}

fn with_extent(mut entry: [u8; ENTRY], extent: Extent) -> Result<[u8; ENTRY]> {
    let number = |value: u64| u32::try_from(value).context("beyond what an MBR can address");
    if entry[8..] != [number(extent.start)?, number(extent.length)?].map(u32::to_le_bytes).concat()
    {
        if entry[8..12] == [0; 4] {
            entry[1..4].copy_from_slice(&NO_GEOMETRY);
        }
        entry[5..8].copy_from_slice(&NO_GEOMETRY);
        entry[8..12].copy_from_slice(&number(extent.start)?.to_le_bytes());
        entry[12..].copy_from_slice(&number(extent.length)?.to_le_bytes());
    }
    Ok(entry)
}

fn types(kinds: &[u8]) -> String {
    let used: Vec<String> =
        kinds.iter().filter(|kind| **kind != 0).map(|kind| format!("{kind:02x}")).collect();
    if used.is_empty() { "none".to_owned() } else { used.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sector(entries: &[(u8, u64, u64)]) -> Vec<u8> {
        let mut sector = vec![0xfa; ENTRIES];
        for (number, (kind, start, length)) in entries.iter().enumerate() {
            let active = if number == 0 { ACTIVE } else { 0 };
            sector.extend([active, 0, 33, 3, *kind, 0xfe, 0xff, 0xff]);
            sector.extend(u32::try_from(*start).unwrap().to_le_bytes());
            sector.extend(u32::try_from(*length).unwrap().to_le_bytes());
        }
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        sector
    }

    fn rancheros(disk: u64) -> Table {
        Table::parse(&sector(&[(LINUX, 2048, disk / SECTOR - 2048)])).unwrap()
    }

    #[test]
    fn the_boot_partition_goes_to_the_end_of_the_disk() {
        let disk = 4096 * MIB;
        let table = rancheros(disk);
        let room = table.room(disk, table.state.bytes(), 512 * MIB).unwrap();
        assert!(room.shrinks);
        assert_eq!(room.boot.end() * SECTOR, disk);
        assert_eq!(room.state.end(), room.boot.start);
        assert_eq!(room.boot.start % ALIGNMENT, 0);
        // Smaller already: the adoption was cut off behind that step.
        assert!(!table.room(disk, room.state.bytes(), 512 * MIB).unwrap().shrinks);
        // A larger disk: the state stays as it is, with room to grow.
        let larger = table.room(disk + 1024 * MIB, table.state.bytes(), 512 * MIB).unwrap();
        assert!(!larger.shrinks && larger.state == table.state);
        assert!(larger.boot.start > table.state.end());
        assert!(table.room(disk / 2, table.state.bytes(), 512 * MIB).is_err());
    }

    #[test]
    fn each_sector_starts_one_system() {
        let disk = 4096 * MIB;
        let table = rancheros(disk);
        let room = table.room(disk, table.state.bytes(), 512 * MIB).unwrap();
        let with_boot = table.with_boot(room).unwrap();
        // The code, and which partition is started, are the old ones.
        assert_eq!(with_boot[..ENTRIES + 1], table.sector[..ENTRIES + 1]);
        let cut_off = Table::parse(&with_boot).unwrap();
        assert_eq!((cut_off.state, cut_off.boot), (room.state, Some(room.boot)));
        assert_eq!(cut_off.with_boot(room).unwrap(), with_boot);
        let started = cut_off.starting_boot(&[7; BOOT_CODE]).unwrap();
        assert_eq!((started[0], started[ENTRIES], started[ENTRIES + ENTRY]), (7, 0, ACTIVE));
        assert_eq!(started[BOOT_CODE..ENTRIES], table.sector[BOOT_CODE..ENTRIES]);
        assert!(!cut_off.starts_boot() && Table::parse(&started).unwrap().starts_boot());
        assert!(table.starting_boot(&[7; BOOT_CODE]).is_err());
    }

    #[test]
    fn another_layout_is_named() {
        for (sector, reason) in [
            (vec![0; 512], "no partition table"),
            (sector(&[(GPT, 1, 100)]), "GPT"),
            (sector(&[(LINUX, 2048, 10), (LINUX, 4096, 10)]), "83, 83"),
            (sector(&[(7, 2048, 10)]), "types 07"),
            (sector(&[]), "types none"),
            (vec![0; 3], "no first sector"),
        ] {
            let why = Table::parse(&sector).unwrap_err().to_string();
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn a_disk_beyond_two_terabytes_has_its_boot_partition_before_them() {
        let table = rancheros(1 << 40);
        let room = table.room(4 << 40, table.state.bytes(), 1024 * MIB).unwrap();
        assert!(room.boot.end() <= u64::from(u32::MAX) && !room.shrinks);
        assert!(table.with_boot(room).is_ok());
    }
}
