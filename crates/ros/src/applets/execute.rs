//! `cloud-init-execute -pre-console`, in a system container of its own when there is something for it to do: a disk that
//! is to grow, services that are to be restarted once the boot has got to the console.

use super::load_config;
use crate::boot::{say, state};
use anyhow::{Context, Result, bail};
use corral_engine::client::ask;
use corral_engine::protocol::Request;
use corral_machine::block::{self, Partition};
use corral_machine::files::write_atomic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says that the disk has grown; it is not tried again.
const STAMP: &str = "/var/lib/rancher/resizefs.done";

/// Does what the configuration asks for.
pub(crate) fn run() -> Result<()> {
    let rancher = load_config()?.rancher;
    let resized = if rancher.resize_device.is_empty() { Ok(()) } else { resize(&rancher.resize_device) };
    let grown = block::grown_partition(Path::new(state::SEEN)).map_or(Ok(()), |partition| {
        say(&format!("state: the disk of {} has grown; so does the file system", partition.device.display()));
        grow(&partition)
    });
    for name in &rancher.restart_services {
        if let Err(error) = ask(Request::Restart { container: name.clone(), timeout: Some(10) }) {
            println!("restart_services: {name}: {error:#}");
        }
    }
    resized.context("rancher.resize_device")?;
    grown.context("growing the state")
}

/// Grows the first partition of the disk to its end, and the file system in it: once.
fn resize(device: &str) -> Result<()> {
    if Path::new(STAMP).exists() {
        return Ok(());
    }
    let disk = match block::resolve(device).as_slice() {
        [one] => one.clone(),
        found => bail!("{device}: {} devices of this name", found.len()),
    };
    let device = first_partition(&disk)?;
    grow(&Partition { device, disk, number: 1 })?;
    write_atomic(Path::new(STAMP), b"", 0o644)
}

/// Grows a partition as far as there is room behind it, and the file system in it.
fn grow(partition: &Partition) -> Result<()> {
    let (disk, number) = (&partition.disk, partition.number.to_string());
    // `,+`: begin where it begins, end where the room ends. The kernel is told below, as the partition is in use.
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    sfdisk.args(["--force", "--no-reread", "--no-tell-kernel", "-N", &number]).arg(disk);
    feed(sfdisk, ",+\n")?;
    succeed(Command::new("/usr/bin/partx").args(["--update", "--nr", &number]).arg(disk))?;
    let device = &partition.device;
    if succeed(Command::new("/usr/sbin/resize2fs").arg(device)).is_err() {
        // One that is not mounted has to be checked first.
        succeed(Command::new("/usr/sbin/e2fsck").args(["-f", "-p"]).arg(device))?;
        succeed(Command::new("/usr/sbin/resize2fs").arg(device))?;
    }
    Ok(())
}

/// `/dev/vda` → `/dev/vda1`, `/dev/nvme0n1` → `/dev/nvme0n1p1`.
fn first_partition(disk: &Path) -> Result<PathBuf> {
    let partition = block::numbered(disk, 1);
    if partition.exists() { Ok(partition) } else { bail!("{} has no first partition", disk.display()) }
}

fn feed(mut command: Command, input: &str) -> Result<()> {
    use std::io::Write;
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
