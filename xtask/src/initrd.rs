//! The initrd: stage 0 and the modules that find the disk with the system image. A cpio archive,
//! compressed with zstd.

use crate::tree::{Entry, Kind, Tree};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Writes `tree` as the initrd; every time stamp is `epoch`, inode numbers count up.
pub(crate) fn write(tree: &Tree, output: &Path, epoch: u64, level: i32) -> Result<()> {
    let mut archive = Vec::new();
    for (number, (path, entry)) in tree.entries.iter().enumerate() {
        append(&mut archive, path, entry, number as u64 + 1, epoch)
            .with_context(|| format!("archiving {path}"))?;
    }
    append(&mut archive, "TRAILER!!!", &Entry { mode: 0, ..Entry::directory() }, 0, 0)?;
    fs::write(output, zstd::encode_all(archive.as_slice(), level)?)?;
    Ok(())
}

/// One entry in the "newc" format of the kernel's initramfs documentation.
fn append(archive: &mut Vec<u8>, path: &str, entry: &Entry, inode: u64, epoch: u64) -> Result<()> {
    let (kind, data) = match &entry.kind {
        Kind::Directory if path == "TRAILER!!!" => (0, Vec::new()),
        Kind::Directory => (0o040_000, Vec::new()),
        Kind::File(blob) => (0o100_000, blob.read()?),
        Kind::Symlink(target) => (0o120_000, target.clone().into_bytes()),
    };
    let fields: [u64; 13] = [
        inode,
        u64::from(kind | entry.mode),
        entry.uid.into(),
        entry.gid.into(),
        1,
        epoch,
        data.len() as u64,
        0,
        0,
        0,
        0,
        path.len() as u64 + 1,
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(&data);
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
