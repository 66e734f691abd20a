//! The last call: restart, power off or halt the machine, or start another kernel. Each takes
//! effect at once: everything that must last has been written before.

use anyhow::{Context, Result};
use rustix::system::RebootCommand;

pub fn reboot() -> Result<()> {
    call(RebootCommand::Restart)
}

pub fn power_off() -> Result<()> {
    call(RebootCommand::PowerOff)
}

pub fn halt() -> Result<()> {
    call(RebootCommand::Halt)
}

/// Starts the kernel that kexec(8) loaded.
pub fn start_loaded_kernel() -> Result<()> {
    call(RebootCommand::Kexec)
}

fn call(command: RebootCommand) -> Result<()> {
    rustix::system::reboot(command).context("reboot(2)")
}
