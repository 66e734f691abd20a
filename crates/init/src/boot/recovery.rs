//! The recovery console: a shell with the tools of the console and of the network, before the state
//! disk is touched. It is requested by `rancher.recovery`, which the boot menu sets, or runs
//! because a step failed that the owner requires. The boot continues when the user leaves it.

use super::run_once;
use corral_config::model::{DEFAULT_USER, Secret};
use corral_machine::console::log;
use corral_plan::resolved::Resolved;

/// Runs it, and returns when the user has left it.
pub(super) fn run(resolved: &Resolved, reason: &str) {
    log(&format!("recovery: {reason}"));
    log("recovery: launching the recovery console; exit it to continue the boot");
    let passwords = resolved.config.passwords();
    let password = passwords.get(DEFAULT_USER).map_or("", Secret::text);
    let password = format!("RECOVERY_PASSWORD={password}");
    if let Err(error) = run_once::run(resolved, "recovery", vec![password], None) {
        log(&format!("recovery: {error:#}; continuing the boot"));
    }
}

/// If the owner wants it.
pub(super) fn run_if_requested(resolved: &Resolved) {
    if resolved.config.rancher.recovery {
        run(resolved, "requested by rancher.recovery");
    }
}
