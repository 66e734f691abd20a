//! Partitions and file systems that grow to fill what they are on. Each of the two steps is found missing at a boot by
//! itself: a cut of power between them costs nothing.

use anyhow::Result;
use corral_machine::growth::Partition;
use corral_machine::program;
use std::path::Path;
use std::process::Command;

/// Grows a partition as far as there is room behind it.
pub(crate) fn partition(partition: &Partition) -> Result<()> {
    let (disk, number) = (&partition.disk, partition.number.to_string());
    // `,+`: begin where it begins, end where the room ends. The kernel is told below, as the partition is in use.
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    sfdisk.args(["--force", "--no-reread", "--no-tell-kernel", "-N", &number]).arg(disk);
    program::feed(&mut sfdisk, b",+\n")?;
    program::run(Command::new("/usr/bin/partx").args(["--update", "--nr", &number]).arg(disk)).map(drop)
}

/// Grows the ext4 file system of a device.
pub(crate) fn file_system(device: &Path) -> Result<()> {
    if program::run(Command::new("/usr/sbin/resize2fs").arg(device)).is_err() {
        // One that is not mounted has to be checked first.
        program::run(Command::new("/usr/sbin/e2fsck").args(["-f", "-p"]).arg(device))?;
        program::run(Command::new("/usr/sbin/resize2fs").arg(device))?;
    }
    Ok(())
}
