//! `reboot`, `poweroff`, `halt`, `shutdown`: requests to PID 1, under any name or path of the
//! command.

use anyhow::{Context, Result, bail};
use corral_install::power::{self, Options};

/// The old commands with their flags: `-f -H -P -r -h`; after shutdown `now` or `+0`, and a message
/// that is not shown.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<()> {
    corral_engine::sys::signals::unblock_all();
    let mut action = if name == "shutdown" { "poweroff" } else { name };
    let mut options = Options::default();
    let mut has_time = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--kexec" => options.kexec = true,
            "--kexec-previous" => options.kexec_previous = true,
            "--kexec-append" => {
                let more =
                    arguments.next().context("--kexec-append needs kernel parameters after it")?;
                options.kexec_append = Some(more.clone());
            }
            "-f" | "--force" => options.force = true,
            "-H" | "--halt" => action = "halt",
            "-P" | "-p" | "-h" | "--poweroff" => action = "poweroff",
            "-r" | "--reboot" => action = "reboot",
            // The guest agent of QEMU gives `+0`, and a message.
            "now" | "+0" if name == "shutdown" => has_time = true,
            _ if has_time && !argument.starts_with('-') => {}
            other if name == "shutdown" && !other.starts_with('-') => {
                bail!("Sorry, can't parse '{other}' as time value (only 'now' supported)")
            }
            other => bail!(
                "{name}: unknown option {other}; the options are -f (at once), -H, -P, -r, \
                 --kexec, --kexec-previous and --kexec-append"
            ),
        }
    }
    power::request(action, &options)
}
