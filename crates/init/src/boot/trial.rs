//! What became of the last upgrade, for the person at the console.

use corral_machine::boot_partition::{Stage, booted};
use corral_machine::console::log;
use corral_machine::os_release::running_version;

/// Reports it if the upgrade did not work.
pub(super) fn announce() {
    let failed = booted::partition().and_then(|partition| partition.trial());
    if let Some(trial) = failed.filter(|trial| trial.stage == Stage::Failed) {
        log(&format!(
            "the upgrade to version {} failed: {}; this is version {}",
            trial.version,
            trial.reason,
            running_version()
        ));
    }
}
