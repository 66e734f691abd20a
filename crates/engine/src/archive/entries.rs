//! The entries of an archive, one after the other. What an archive claims costs no more than what
//! it has: names and attributes, which are held in memory, have a largest size, and so have sparse
//! files, which are mostly not there.

use anyhow::{Context, Result, ensure};
use std::cell::Cell;
use std::io::{ErrorKind, Read};
use tar::{Archive, Entry, EntryType};

/// Bytes of what stands before an entry: long names and attributes.
const LARGEST_HEADERS: u64 = 4 << 20;
/// Bytes of all sparse files together: they need not be in the archive, nor on the disk, and all of
/// them take time.
const LARGEST_SPARSE: u64 = 16 << 30;

/// Hands each entry of an archive to `take`.
pub fn each<R: Read>(
    reader: R,
    mut take: impl FnMut(&mut Entry<'_, Metered<'_, R>>) -> Result<()>,
) -> Result<()> {
    let left = Cell::new(0);
    let mut archive = Archive::new(Metered { reader, left: &left });
    let mut entries = archive.entries().context("reading the archive")?;
    let mut sparse = 0_u64;
    loop {
        left.set(LARGEST_HEADERS);
        let Some(entry) = entries.next() else { return Ok(()) };
        left.set(u64::MAX);
        let mut entry = entry.context("reading the archive")?;
        if entry.header().entry_type() == EntryType::GNUSparse {
            sparse = sparse.saturating_add(entry.size());
            let most = LARGEST_SPARSE >> 30;
            ensure!(
                sparse <= LARGEST_SPARSE,
                "the sparse files of the archive are larger than {most} GiB"
            );
        }
        take(&mut entry)?;
        // A folder or a link may have a content too, which nothing has read; the next header is
        // behind it.
        std::io::copy(&mut entry, &mut std::io::sink()).context("reading the archive")?;
    }
}

/// A reader that gives so many bytes and not more.
#[derive(Debug)]
pub struct Metered<'a, R> {
    reader: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(std::io::Error::new(
                ErrorKind::InvalidData,
                "the headers of an entry are too large",
            ));
        }
        let count = self.reader.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - count as u64);
        Ok(count)
    }
}
