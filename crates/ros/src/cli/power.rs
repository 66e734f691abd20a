//! `reboot`, `poweroff`, `halt`, `shutdown`: PID 1 is asked, whatever name or path the command was called by.

use anyhow::{Result, bail};
use clap::Args;
use corral_engine::client::ask;
use corral_engine::protocol::{PowerAction, Request};

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Do not stop containers first
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// The old commands with their flags: `-f -H -P -r -h`, and `now` after shutdown.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<()> {
    corral_engine::sys::signals::unblock_all();
    let mut action = if name == "shutdown" { "poweroff" } else { name };
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "-f" | "--force" => options.force = true,
            "-H" | "--halt" => action = "halt",
            "-P" | "-p" | "-h" | "--poweroff" => action = "poweroff",
            "-r" | "--reboot" => action = "reboot",
            "now" if name == "shutdown" => {}
            other if name == "shutdown" && !other.starts_with('-') => {
                bail!("Sorry, can't parse '{other}' as time value (only 'now' supported)")
            }
            other => bail!("{name}: unknown option {other}; there are -f (at once), -H, -P and -r"),
        }
    }
    end(action, &options)
}

/// Asks PID 1 to end the machine. Returns when it has begun to.
pub(crate) fn end(name: &str, options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{name}: Need to be root");
    }
    let action = match name {
        "reboot" => PowerAction::Reboot,
        "halt" => PowerAction::Halt,
        _ => PowerAction::PowerOff,
    };
    ask(Request::Power { action, force: options.force })?;
    Ok(())
}
