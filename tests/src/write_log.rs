//! Every write of a machine to its disk, in order: QEMU's blklogwrites records them in the format
//! of dm-log-writes. Replaying the first of them gives the disk as a power cut at that moment
//! leaves it.
//! <https://docs.kernel.org/admin-guide/device-mapper/log-writes.html>

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
/// A discard carries no data.
const DISCARD: u64 = 4;

/// One write.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// Byte of the disk.
    pub at: u64,
    /// Bytes.
    pub length: u64,
    flags: u64,
    /// Byte of the log where its data is.
    data: u64,
}

/// A log that QEMU has written.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    pub writes: Vec<Write>,
}

impl WriteLog {
    /// Reads the table of a log.
    pub fn open(path: &Path) -> Result<WriteLog> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let number = |at: u64| -> Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at)?;
            Ok(u64::from_le_bytes(bytes))
        };
        if number(0)? != MAGIC {
            bail!("{} is no log of writes", path.display());
        }
        let sector = number(24)? & 0xffff_ffff;
        let end = file.metadata()?.len();
        let mut writes = Vec::new();
        let mut at = sector;
        // The count in the header may be older than the log.
        while at + sector <= end {
            let (place, sectors, flags) = (number(at)?, number(at + 8)?, number(at + 16)?);
            let length = sectors * sector;
            if place == 0 && sectors == 0 && flags == 0 {
                break;
            }
            writes.push(Write { at: place * sector, length, flags, data: at + sector });
            at += sector + if flags & DISCARD == 0 { length } else { 0 };
        }
        Ok(WriteLog { file, writes })
    }

    /// Applies some of the writes to a disk.
    pub fn replay(&self, writes: &[Write], disk: &Path) -> Result<()> {
        let disk = File::options().write(true).open(disk)?;
        for write in writes.iter().filter(|write| write.length > 0) {
            let mut bytes = vec![0; usize::try_from(write.length)?];
            if write.flags & DISCARD == 0 {
                self.file.read_exact_at(&mut bytes, write.data)?;
            }
            disk.write_all_at(&bytes, write.at)?;
        }
        Ok(())
    }
}
