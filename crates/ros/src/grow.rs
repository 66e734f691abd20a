//! Partitions and file systems that grow to fill what they are on. Each of the two steps is found missing at a boot by
//! itself: a cut of power between them costs nothing.

use anyhow::{Context, Result, bail};
use corral_machine::growth::Partition;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Grows a partition as far as there is room behind it.
pub(crate) fn partition(partition: &Partition) -> Result<()> {
    let (disk, number) = (&partition.disk, partition.number.to_string());
    // `,+`: begin where it begins, end where the room ends. The kernel is told below, as the partition is in use.
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    sfdisk.args(["--force", "--no-reread", "--no-tell-kernel", "-N", &number]).arg(disk);
    feed(sfdisk, ",+\n")?;
    succeed(Command::new("/usr/bin/partx").args(["--update", "--nr", &number]).arg(disk))
}

/// Grows the ext4 file system of a device.
pub(crate) fn file_system(device: &Path) -> Result<()> {
    if succeed(Command::new("/usr/sbin/resize2fs").arg(device)).is_err() {
        // One that is not mounted has to be checked first.
        succeed(Command::new("/usr/sbin/e2fsck").args(["-f", "-p"]).arg(device))?;
        succeed(Command::new("/usr/sbin/resize2fs").arg(device))?;
    }
    Ok(())
}

fn feed(mut command: Command, input: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    if let Some(stdin) = &mut child.stdin {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{name}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}

fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{name}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}
