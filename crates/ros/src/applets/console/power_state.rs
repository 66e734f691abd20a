//! `power_state` of the configuration: the machine shuts down when the owner's commands have ended,
//! and the rest of the boot with them. It does so once for each value of the key, or a machine
//! would restart for ever.

use super::boot_work;
use super::commands::prepare;
use anyhow::{Context, Result, bail};
use corral_config::model::{Condition, Power};
use corral_init::boot::state::{CONF, PROBLEM_FILE, is_on_disk};
use corral_install::power::{self, Options};
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_machine::{deadline, inotify};
use corral_resolve::effective::load_config;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests the shutdown, if it is wanted and has not been done.
pub(super) fn apply(power: &Power, path: &OsStr) -> Result<()> {
    if power.mode.is_empty() {
        return Ok(());
    }
    let (stamp, digest) = (stamp(), digest(power)?);
    if fs::read_to_string(&stamp).is_ok_and(|done| done.trim() == digest) {
        return Ok(());
    }
    if Path::new(PROBLEM_FILE).exists() {
        bail!("no {}: the state disk does not work, and each boot would do it again", power.mode);
    }
    if power.mode == "reboot" && !is_on_disk() {
        bail!("not restarted: without a state disk, each boot would restart the machine again");
    }
    if !is_true(power.condition.as_ref(), path)? {
        return Ok(());
    }
    await_boot(power.boot_timeout());
    write_atomic(&stamp, format!("{digest}\n").as_bytes(), 0o600)?;
    let minutes = Power::parse_delay(&power.delay).unwrap_or_default();
    let when = if minutes == 0 { "now".to_owned() } else { format!("in {minutes} min") };
    log(format!("power_state: {} {when} {}", power.mode, power.message).trim_end());
    if !waited(power, minutes)? {
        log("power_state: changed by its owner; no shutdown");
        return Ok(());
    }
    power::request(&power.mode, &Options::default())
}

/// Waits for the rest of the boot. As in cloud-init, what does not end in time keeps no machine on.
fn await_boot(limit: Duration) {
    match boot_work::await_rest(limit) {
        Ok(open) if open.is_empty() => {}
        Ok(open) => log(&format!(
            "power_state: still at work after {} s (`timeout`): {}; not waited for any longer",
            limit.as_secs(),
            open.join(", ")
        )),
        Err(error) => log(&format!("power_state: waiting for the rest of the boot: {error:#}")),
    }
}

/// Waits for the delay. False if the owner changes the key meanwhile.
fn waited(power: &Power, minutes: u64) -> Result<bool> {
    let end = deadline::after(Duration::from_secs(minutes.saturating_mul(60)));
    let config = Path::new(corral_engine::paths::CONFIG);
    let folder = config.parent().unwrap_or(config);
    let is_changed = || load_config().is_ok_and(|config| config.power_state != *power);
    inotify::wait_for(folder, end, is_changed).map(|changed| !changed)
}

fn stamp() -> PathBuf {
    Path::new(CONF).join("power-state.done")
}

fn digest(power: &Power) -> Result<String> {
    let text = serde_json::to_vec(power).context("reading power_state")?;
    Ok(hex::encode(Sha256::digest(text)))
}

fn is_true(condition: Option<&Condition>, path: &OsStr) -> Result<bool> {
    let command = match condition {
        None => return Ok(true),
        Some(Condition::Bool(value)) => return Ok(*value),
        Some(Condition::Command(command)) => command,
    };
    let Some(mut command) = prepare(command) else { return Ok(false) };
    let status = command.env("PATH", path).status().context("running its condition")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::model::Command;

    #[test]
    fn a_condition_is_a_value_or_the_success_of_a_command() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let shell = |text: &str| Condition::Command(Command::Shell(text.to_owned()));
        for (condition, expected) in [
            (None, true),
            (Some(Condition::Bool(false)), false),
            (Some(shell("exit 0")), true),
            (Some(shell("exit 1")), false),
            (Some(shell("")), false),
        ] {
            assert_eq!(is_true(condition.as_ref(), &path).unwrap(), expected, "{condition:?}");
        }
    }

    #[test]
    fn another_value_is_another_shutdown() {
        let power = |delay: &str| Power { delay: delay.to_owned(), ..Power::default() };
        assert_eq!(digest(&power("now")).unwrap(), digest(&power("now")).unwrap());
        assert_ne!(digest(&power("now")).unwrap(), digest(&power("+1")).unwrap());
    }
}
