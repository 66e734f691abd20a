//! The boot partition: Microsoft, FAT32 File System Specification, version 1.03. No file is moved:
//! the loader's boot code knows in which sectors its second part is. Of what was deleted nothing
//! stays.

use super::raw::{date, open, punch, u16_at, u32_at};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The attributes of an entry, and those of a part of a long name.
const LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
const DELETED: u8 = 0xe5;
const SERIAL: usize = 67;
/// Before the name of the boot partition in files of the boot loaders (crates/machine).
const BOOT_PARAMETER: &str = "corral.boot";
/// A larger file has no names of file systems.
const SMALL: usize = 64 << 10;
const ENTRY: usize = 32;

/// A file system on a disk.
struct Fat<'a> {
    disk: &'a File,
    /// Of its first cluster, in bytes.
    data: u64,
    cluster: usize,
    /// The cluster that follows each one; zero for one that is free.
    next: Vec<u32>,
}

/// What a boot partition gets.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) serial: u32,
    /// The time of all files.
    pub(super) epoch: u64,
    /// The identifier of the state in its files, and the one that replaces it.
    pub(super) state: (String, String),
}

/// A text in files, the one that replaces it, and how often it did.
struct Rename {
    old: String,
    new: String,
    hits: usize,
}

impl Rename {
    fn of(old: &str, new: &str) -> Rename {
        Rename { old: old.to_owned(), new: new.to_owned(), hits: 0 }
    }
}

/// Settles the file system at `start` of the disk at `path`. Its old serial number is replaced in
/// its files too.
pub(super) fn settle(path: &Path, start: u64, changes: &Changes) -> Result<()> {
    let disk = &open(path)?;
    let mut boot = [0; 512];
    disk.read_exact_at(&mut boot, start)?;
    ensure!(&boot[82..90] == b"FAT32   ", "it is not FAT32");
    let sector = u64::from(u16_at(&boot, 11));
    let (copies, length) = (u64::from(boot[16]), u64::from(u32_at(&boot, 36)));
    let reserved = u64::from(u16_at(&boot, 14));
    let mut next = vec![0; usize::try_from(length * sector)?];
    disk.read_exact_at(&mut next, start + reserved * sector)?;
    let mut next: Vec<u32> =
        next.chunks_exact(4).map(|entry| u32_at(entry, 0) & 0x0fff_ffff).collect();
    let before_data = reserved + copies * length;
    let clusters = (u64::from(u32_at(&boot, 32)).saturating_sub(before_data))
        .checked_div(u64::from(boot[13]))
        .context("its clusters have no sectors")?;
    next.truncate(usize::try_from(clusters)? + 2);
    let data = start + before_data * sector;
    let fat = Fat { disk, data, cluster: usize::from(boot[13]) * usize::try_from(sector)?, next };
    let files = fat.settle_folders(u32_at(&boot, 44), &Stamp::of(changes.epoch)?)?;
    fat.rename(&files, [u32_at(&boot, SERIAL), changes.serial], &changes.state)?;
    for (first, count) in fat.free() {
        punch(path, fat.at(first), u64::from(count) * fat.cluster as u64)?;
    }
    for copy in [0, u64::from(u16_at(&boot, 50))] {
        let at = start + copy * sector + SERIAL as u64;
        disk.write_all_at(&changes.serial.to_le_bytes(), at)?;
    }
    Ok(())
}

/// A serial number as systems show it.
pub(super) fn id(serial: u32) -> String {
    format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)
}

/// A time as entries have it: bytes 13 to 18, and 22 to 25.
struct Stamp {
    date: [u8; 2],
    time: [u8; 2],
}

impl Stamp {
    fn of(epoch: u64) -> Result<Stamp> {
        let text = date(epoch, "+%-Y %-m %-d %-H %-M %-S")?;
        let numbers: Vec<u16> =
            text.split(' ').map(str::parse).collect::<Result<_, _>>().context("reading a time")?;
        let [year, month, day, hour, minute, second] = numbers[..] else {
            anyhow::bail!("date printed {text:?}")
        };
        ensure!((1980..2108).contains(&year), "FAT has no year {year}");
        Ok(Stamp {
            date: ((year - 1980) << 9 | month << 5 | day).to_le_bytes(),
            time: (hour << 11 | minute << 5 | (second / 2)).to_le_bytes(),
        })
    }

    fn write(&self, entry: &mut [u8]) {
        entry[13] = 0;
        entry[14..16].copy_from_slice(&self.time);
        entry[16..18].copy_from_slice(&self.date);
        entry[18..20].copy_from_slice(&self.date);
        entry[22..24].copy_from_slice(&self.time);
        entry[24..26].copy_from_slice(&self.date);
    }
}

impl Fat<'_> {
    /// Sets the times of all files, and closes up what is left in each folder. Returns the files.
    fn settle_folders(&self, root: u32, stamp: &Stamp) -> Result<Vec<Content>> {
        let mut files = Vec::new();
        let mut folders = vec![root];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            seen += 1;
            ensure!(seen <= self.next.len(), "its folders are in a loop");
            let chain = self.chain(folder)?;
            let mut bytes = self.read(&chain)?;
            let mut left = Vec::with_capacity(bytes.len());
            let entries = bytes.chunks_exact_mut(ENTRY).take_while(|entry| entry[0] != 0);
            for entry in entries.filter(|entry| entry[0] != DELETED) {
                match settle_entry(entry, stamp) {
                    Some(Below::Folder(cluster)) => folders.push(cluster),
                    Some(Below::File(file)) => files.push(file),
                    None => {}
                }
                left.extend_from_slice(entry);
            }
            left.resize(bytes.len(), 0);
            self.write(&chain, &left)?;
        }
        Ok(files)
    }

    /// Replaces the serial number and the identifier of the state in all small files. A disk whose
    /// files name other ones would not boot.
    fn rename(&self, files: &[Content], serials: [u32; 2], state: &(String, String)) -> Result<()> {
        let [old, new] = serials.map(id);
        let mut renames = [
            Rename::of(&state.0, &state.1),
            Rename::of(&old, &new),
            Rename::of(&old.to_lowercase(), &new.to_lowercase()),
        ];
        files.iter().try_for_each(|file| self.settle_file(*file, &mut renames))?;
        let [of_state, upper, lower] = &renames;
        ensure!(of_state.hits > 0, "none of its files names the state, {}", of_state.old);
        let mut names_boot = false;
        for file in files.iter().filter(|file| file.bytes <= SMALL) {
            let bytes = self.read(&self.chain(file.cluster)?)?;
            for Rename { old, .. } in renames.iter().filter(|rename| rename.old != rename.new) {
                ensure!(!contains(&bytes, old), "one of its files still names {old}");
            }
            names_boot |= contains(&bytes, &format!("{BOOT_PARAMETER}=UUID="));
        }
        ensure!(
            !names_boot || upper.hits + lower.hits > 0,
            "its files have {BOOT_PARAMETER}, but none has its serial number, {old}"
        );
        Ok(())
    }

    /// Replaces texts in a small file. Behind the end of any file there are zeros afterwards.
    fn settle_file(&self, file: Content, renames: &mut [Rename]) -> Result<()> {
        let chain = self.chain(file.cluster)?;
        let is_small = file.bytes <= SMALL;
        let first = if is_small { 0 } else { chain.len().saturating_sub(1) };
        let chain = chain.get(first..).unwrap_or_default();
        let mut bytes = self.read(chain)?;
        let end = file.bytes.saturating_sub(first * self.cluster).min(bytes.len());
        bytes[end..].fill(0);
        for Rename { old, new, hits } in renames.iter_mut().filter(|_| is_small) {
            *hits += replace(&mut bytes[..end], old, new)?;
        }
        self.write(chain, &bytes)
    }

    fn read(&self, chain: &[u32]) -> Result<Vec<u8>> {
        let mut bytes = vec![0; chain.len() * self.cluster];
        for (cluster, part) in chain.iter().zip(bytes.chunks_exact_mut(self.cluster)) {
            self.disk.read_exact_at(part, self.at(*cluster))?;
        }
        Ok(bytes)
    }

    fn write(&self, chain: &[u32], bytes: &[u8]) -> Result<()> {
        for (cluster, part) in chain.iter().zip(bytes.chunks_exact(self.cluster)) {
            self.disk.write_all_at(part, self.at(*cluster))?;
        }
        Ok(())
    }

    /// Where a cluster begins.
    fn at(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster).saturating_sub(2) * self.cluster as u64
    }

    /// Runs of free clusters: the first one, and how many.
    fn free(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let clusters = (0..).zip(&self.next).skip(2);
        for (cluster, _) in clusters.filter(|(_, next)| **next == 0) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == cluster => *count += 1,
                _ => runs.push((cluster, 1)),
            }
        }
        runs
    }

    fn chain(&self, first: u32) -> Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut cluster = first;
        while (2..0x0fff_fff7).contains(&cluster) {
            ensure!(chain.len() < self.next.len(), "a chain of its clusters is a loop");
            chain.push(cluster);
            let next = self.next.get(cluster as usize);
            cluster = *next.with_context(|| format!("it has no cluster {cluster}"))?;
        }
        Ok(chain)
    }
}

/// What an entry names.
enum Below {
    Folder(u32),
    File(Content),
}

/// The first cluster of a file, and its size.
#[derive(Clone, Copy)]
struct Content {
    cluster: u32,
    bytes: usize,
}

/// Sets the times of an entry. Returns what it names, if that has a cluster.
fn settle_entry(entry: &mut [u8], stamp: &Stamp) -> Option<Below> {
    let kind = entry[11];
    if kind & LONG_NAME == LONG_NAME {
        return None;
    }
    stamp.write(entry);
    let cluster = u32::from(u16_at(entry, 20)) << 16 | u32::from(u16_at(entry, 26));
    if entry[0] == b'.' || kind & LABEL != 0 || cluster == 0 {
        return None;
    }
    if kind & FOLDER != 0 {
        return Some(Below::Folder(cluster));
    }
    let bytes = usize::try_from(u32_at(entry, 28)).ok()?;
    Some(Below::File(Content { cluster, bytes }))
}

/// Replaces a text by another one of the same length. Returns how often it did.
fn replace(bytes: &mut [u8], old: &str, new: &str) -> Result<usize> {
    ensure!(old.len() == new.len() && !old.is_empty(), "{old:?} and {new:?} differ in length");
    let last = bytes.len().saturating_sub(old.len() - 1);
    let mut hits = 0;
    for at in 0..last {
        if bytes[at..].starts_with(old.as_bytes()) {
            bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
            hits += 1;
        }
    }
    Ok(hits)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
