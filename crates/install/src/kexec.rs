//! Starts another kernel without the firmware: loaded by kexec(8), started by PID 1 once everything
//! has been stopped.

use anyhow::{Context, Result};
use corral_engine::client::call;
use corral_engine::protocol::{PowerAction, Request};
use corral_machine::boot_partition::BootPartition;
use corral_machine::program;

/// Loads a version of a boot partition.
pub(crate) fn load(partition: &BootPartition, version: &str, more: &str) -> Result<()> {
    let folder = partition.folder(version);
    let line = format!("{} {more}", partition.load_arguments().command_line(version));
    let mut command = program::of_system("/usr/sbin/kexec");
    command.arg("--kexec-file-syscall").arg("--load").arg(folder.join("vmlinuz"));
    command.arg(format!("--initrd={}", folder.join("initrd").display()));
    command.arg(format!("--command-line={}", line.trim()));
    program::run(&mut command).map(drop).with_context(|| format!("loading version {version}"))
}

/// Stops this system, containers first, and starts the loaded kernel.
pub(crate) fn start() -> Result<()> {
    call(Request::Power { action: PowerAction::Kexec, force: false })?;
    Ok(())
}
