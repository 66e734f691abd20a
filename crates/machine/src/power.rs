//! The last call: restart, power off or halt the machine, or start another kernel.

use anyhow::{Context, Result};
use rustix::system::{RebootCommand, reboot};

/// What becomes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Reboot,
    PowerOff,
    Halt,
    /// Start the kernel that kexec(8) loaded; without one the machine restarts.
    Kexec,
}

impl Power {
    /// Does it at once: everything that must last has been written before.
    pub fn act(self) -> Result<()> {
        let command = match self {
            Power::Reboot => RebootCommand::Restart,
            Power::PowerOff => RebootCommand::PowerOff,
            Power::Halt => RebootCommand::Halt,
            Power::Kexec => RebootCommand::Kexec,
        };
        reboot(command).context("asking the kernel to end")
    }
}
