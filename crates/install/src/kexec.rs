//! Starts another kernel without the firmware: loaded by kexec(8), started by PID 1 once everything
//! has been stopped.

use anyhow::{Context, Result};
use corral_engine::client::call;
use corral_engine::protocol::{PowerAction, Request};
use corral_machine::boot_partition::BootPartition;
use corral_machine::program;
use std::fs;
use std::path::PathBuf;

/// Both archives of an initrd, in memory, while kexec(8) reads them.
const JOINED: &str = "/run/corral/kexec.initrd";

/// Loads a version of a boot partition.
pub(crate) fn load(partition: &BootPartition, version: &str, more: &str) -> Result<()> {
    let folder = partition.folder(version);
    let line = format!("{} {more}", partition.load_arguments().command_line(version));
    let mut command = program::of_system("/usr/sbin/kexec");
    command.arg("--kexec-file-syscall").arg("--load").arg(folder.join("vmlinuz"));
    let initrd = join_initrds(partition, version)?;
    command.arg(format!("--initrd={}", initrd.display()));
    command.arg(format!("--command-line={}", line.trim()));
    let loaded = program::run(&mut command);
    let _ = fs::remove_file(JOINED);
    loaded.map(drop).with_context(|| format!("loading version {version}"))
}

/// kexec(8) takes one file. The kernel unpacks archives that follow each other at multiples of four
/// bytes.
fn join_initrds(partition: &BootPartition, version: &str) -> Result<PathBuf> {
    let folder = partition.folder(version);
    let names = partition.initrds(version);
    if let [only] = names.as_slice() {
        return Ok(folder.join(only));
    }
    let mut bytes = Vec::new();
    for name in names {
        let path = folder.join(name);
        bytes.extend(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    fs::write(JOINED, bytes).with_context(|| format!("writing {JOINED}"))?;
    Ok(PathBuf::from(JOINED))
}

/// Stops this system, containers first, and starts the loaded kernel.
pub(crate) fn start() -> Result<()> {
    call(Request::Power { action: PowerAction::Kexec, force: false })?;
    Ok(())
}
