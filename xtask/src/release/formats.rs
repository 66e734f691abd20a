//! VMDK and VHDX as qemu-img writes them have numbers drawn at random. Here they get those of the
//! release. VMware: Virtual Disk Format 5.0; Microsoft: VHDX Format Specification (MS-VHDX).

use super::identity::{CRC32C, Identity, crc};
use anyhow::{Context, Result, ensure};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const SECTOR: u64 = 512;
const CONTENT_ID: &str = "CID=";
/// The largest description of a VMDK file that is read: 64 KiB.
const DESCRIPTION_SECTORS: u64 = 128;

/// Structures of VHDX: where both headers and the first table of regions are, and their sizes.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER: usize = 4 << 10;
const REGIONS: u64 = 192 << 10;
const TABLE: usize = 64 << 10;
/// The region with metadata (8b7ca206-4790-4b9a-b8fe-575f050f886e), and the item of it with the
/// identifier of the disk (beca12ab-b2e6-4523-93ef-c309e000c746).
const METADATA: [u8; 16] = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
const DISK: [u8; 16] = *b"\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46";

/// Sets the content id of a VMDK file. Its description is text in a few sectors.
pub(super) fn settle_vmdk(path: &Path, identity: &Identity) -> Result<()> {
    let file = open(path)?;
    let mut header = [0; SECTOR as usize];
    file.read_exact_at(&mut header, 0)?;
    ensure!(&header[..4] == b"KDMV", "{} is not VMDK", path.display());
    let (at, sectors) = (long(&header, 28), long(&header, 36));
    ensure!(
        (1..=DESCRIPTION_SECTORS).contains(&sectors),
        "it has a description of {sectors} sectors"
    );
    let mut text = vec![0; usize::try_from(sectors * SECTOR)?];
    file.read_exact_at(&mut text, at * SECTOR)?;
    let new = with_content_id(&text, identity.word("content")).context("its description")?;
    file.write_all_at(&new, at * SECTOR)?;
    file.sync_all().with_context(|| format!("writing {}", path.display()))
}

/// The number has as few digits as it needs, so the text may change its length: zeros follow it.
fn with_content_id(description: &[u8], id: u32) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(description)?.trim_end_matches('\0');
    ensure!(text.lines().any(|line| line.starts_with(CONTENT_ID)), "there is no {CONTENT_ID}");
    let line = |line: &str| match line.starts_with(CONTENT_ID) {
        true => format!("{CONTENT_ID}{id:08x}\n"),
        false => format!("{line}\n"),
    };
    let mut new: Vec<u8> = text.lines().map(line).collect::<String>().into_bytes();
    ensure!(new.len() <= description.len(), "it does not fit");
    new.resize(description.len(), 0);
    Ok(new)
}

/// Sets the identifiers of a VHDX file, and empties its log.
pub(super) fn settle_vhdx(path: &Path, identity: &Identity) -> Result<()> {
    let file = open(path)?;
    let mut log = None;
    for (number, at) in HEADERS.into_iter().enumerate() {
        let mut header = vec![0; HEADER];
        file.read_exact_at(&mut header, at)?;
        ensure!(&header[..4] == b"head", "{} has no header at {at}", path.display());
        ensure!(header[48..64] == [0; 16], "its log is not empty");
        log = Some((long(&header, 72), word(&header, 68)));
        // The higher one of both sequence numbers is of the header that is used.
        header[8..16].copy_from_slice(&(number as u64 + 1).to_le_bytes());
        header[16..32].copy_from_slice(&identity.guid("file"));
        header[32..48].copy_from_slice(&identity.guid("data"));
        header[4..8].fill(0);
        let check = crc(CRC32C, &header);
        header[4..8].copy_from_slice(&check.to_le_bytes());
        file.write_all_at(&header, at)?;
    }
    if let Some((at, bytes)) = log {
        file.write_all_at(&vec![0; bytes as usize], at)?;
    }
    let regions = find(&file, REGIONS, (b"regi", 16), &METADATA)?;
    let metadata = long(&regions, 16);
    let item = find(&file, metadata, (b"meta", 32), &DISK)?;
    file.write_all_at(&identity.guid("disk"), metadata + u64::from(word(&item, 16)))?;
    file.sync_all().with_context(|| format!("writing {}", path.display()))
}

/// The entry of a table that begins with an identifier. `kind` is how the table begins, and where
/// its first entry is.
fn find(file: &File, at: u64, kind: (&[u8; 4], usize), entry: &[u8; 16]) -> Result<Vec<u8>> {
    let mut table = vec![0; TABLE];
    file.read_exact_at(&mut table, at)?;
    ensure!(&table[..4] == kind.0, "there is no table at {at}");
    let mut entries = table[kind.1..].chunks_exact(32);
    let found = entries.find(|found| &found[..16] == entry);
    Ok(found.with_context(|| format!("the table at {at} lacks an entry"))?.to_vec())
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_id_may_have_had_fewer_digits() {
        for old in ["CID=1", "CID=89abcdef"] {
            let mut text = format!("# Disk\n{old}\nparentCID=ffffffff\n").into_bytes();
            text.resize(512, 0);
            let new = with_content_id(&text, 0x12_3456).unwrap();
            assert_eq!(new.len(), 512);
            let expected = b"# Disk\nCID=00123456\nparentCID=ffffffff\n\0";
            assert_eq!(&new[..expected.len()], expected);
        }
        assert!(with_content_id(b"parentCID=ffffffff\n", 1).is_err());
    }
}
