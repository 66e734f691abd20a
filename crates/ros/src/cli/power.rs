//! `reboot`, `poweroff`, `halt`, `shutdown`: PID 1 is asked, whatever name or path the command was called by.

use anyhow::{Context, Result, bail};
use clap::Args;
use corral_engine::client::ask;
use corral_engine::protocol::{PowerAction, Request};
use corral_machine::boot_partition::booted;

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Do not stop containers first
    #[arg(short, long)]
    pub(crate) force: bool,
    /// reboot only: start the default version without the firmware
    #[arg(long)]
    pub(crate) kexec: bool,
    /// reboot only: the same with the version before
    #[arg(long)]
    pub(crate) kexec_previous: bool,
    /// reboot only: kernel parameters to add, this time
    #[arg(long, value_name = "PARAMETERS")]
    pub(crate) kexec_append: Option<String>,
}

/// The old commands with their flags: `-f -H -P -r -h`, and `now` after shutdown.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<()> {
    corral_engine::sys::signals::unblock_all();
    let mut action = if name == "shutdown" { "poweroff" } else { name };
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--kexec" => options.kexec = true,
            "--kexec-previous" => options.kexec_previous = true,
            "--kexec-append" => {
                let more = arguments.next().context("--kexec-append wants kernel parameters behind it")?;
                options.kexec_append = Some(more.clone());
            }
            "-f" | "--force" => options.force = true,
            "-H" | "--halt" => action = "halt",
            "-P" | "-p" | "-h" | "--poweroff" => action = "poweroff",
            "-r" | "--reboot" => action = "reboot",
            "now" if name == "shutdown" => {}
            other if name == "shutdown" && !other.starts_with('-') => {
                bail!("Sorry, can't parse '{other}' as time value (only 'now' supported)")
            }
            other => bail!(
                "{name}: unknown option {other}; there are -f (at once), -H, -P, -r, --kexec, --kexec-previous and --kexec-append"
            ),
        }
    }
    end(action, &options)
}

/// Asks PID 1 to end the machine. Returns when it has begun to.
pub(crate) fn end(name: &str, options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{name}: Need to be root");
    }
    if options.kexec || options.kexec_previous || options.kexec_append.is_some() {
        if name != "reboot" {
            bail!("{name}: --kexec is for reboot");
        }
        return reboot_by_kexec(options);
    }
    let action = match name {
        "reboot" => PowerAction::Reboot,
        "halt" => PowerAction::Halt,
        _ => PowerAction::PowerOff,
    };
    ask(Request::Power { action, force: options.force })?;
    Ok(())
}

fn reboot_by_kexec(options: &Options) -> Result<()> {
    let partition = booted::partition().context(
        "this machine was not started from an installed disk: there is no version to start by kexec",
    )?;
    let versions = partition.versions()?;
    let version = if options.kexec_previous {
        versions.others.first().context("there is no version before this one")?
    } else {
        &versions.default
    };
    crate::kexec::load(&partition, version, options.kexec_append.as_deref().unwrap_or_default())?;
    crate::kexec::start()
}
