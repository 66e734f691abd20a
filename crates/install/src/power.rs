//! Requests to restart the machine, to switch it off or to halt it.

use crate::kexec;
use anyhow::{Context, Result, bail};
use clap::Args;
use corral_engine::client::call;
use corral_engine::protocol::{PowerAction, Request};
use corral_machine::boot_partition::booted;
use corral_terminal::report::only_root;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Do not stop containers first
    #[arg(short, long)]
    pub force: bool,
    /// reboot only: start the default version without the firmware
    #[arg(long)]
    pub kexec: bool,
    /// reboot only: start the previous version without the firmware
    #[arg(long)]
    pub kexec_previous: bool,
    /// reboot only: kernel parameters to add, this time
    #[arg(long, value_name = "PARAMETERS")]
    pub kexec_append: Option<String>,
}

/// Sends the request to PID 1. Returns when the shutdown has begun.
pub fn request(name: &str, options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{}", only_root(name));
    }
    if options.kexec || options.kexec_previous || options.kexec_append.is_some() {
        if name != "reboot" {
            bail!("{name}: --kexec is for reboot only; leave it out");
        }
        return reboot_by_kexec(options);
    }
    let action = match name {
        "reboot" => PowerAction::Reboot,
        "halt" => PowerAction::Halt,
        _ => PowerAction::PowerOff,
    };
    call(Request::Power { action, force: options.force })?;
    Ok(())
}

fn reboot_by_kexec(options: &Options) -> Result<()> {
    let partition = booted::partition().context(
        "this machine was not started from an installed disk; kexec has no version to start",
    )?;
    let versions = partition.versions()?;
    let version = if options.kexec_previous {
        versions.others.first().context(
            "--kexec-previous: there is no version before this one; `ros os list` shows them",
        )?
    } else {
        &versions.default
    };
    kexec::load(&partition, version, options.kexec_append.as_deref().unwrap_or_default())?;
    kexec::start()
}
