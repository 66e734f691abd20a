//! Partitions and file systems that grow to fill their disk. Each boot checks both steps
//! separately, so a power cut between them does no harm.

use anyhow::Result;
use corral_machine::growth::Partition;
use corral_machine::program;
use std::path::Path;

/// Grows a partition into the free space behind it.
pub(crate) fn partition(partition: &Partition) -> Result<()> {
    let (disk, number) = (&partition.disk, partition.number.to_string());
    // `,+`: keep the start, extend to the end of the free space. partx below updates the kernel,
    // because the partition is in use.
    let mut sfdisk = program::of_system("/usr/sbin/sfdisk");
    sfdisk.args(["--force", "--no-reread", "--no-tell-kernel", "-N", &number]).arg(disk);
    program::feed(&mut sfdisk, b",+\n")?;
    program::run(program::of_system("/usr/bin/partx").args(["--update", "--nr", &number]).arg(disk))
        .map(drop)
}

/// Grows the ext4 file system of a device.
pub(crate) fn file_system(device: &Path) -> Result<()> {
    if program::run(program::of_system("/usr/sbin/resize2fs").arg(device)).is_err() {
        // A file system that is not mounted has to be checked first.
        program::run(program::of_system("/usr/sbin/e2fsck").args(["-f", "-p"]).arg(device))?;
        program::run(program::of_system("/usr/sbin/resize2fs").arg(device))?;
    }
    Ok(())
}
