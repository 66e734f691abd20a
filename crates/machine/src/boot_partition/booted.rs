//! The boot partition that this machine was started from: as stage 0 left it mounted, to be read
//! without a lock.

use super::BootPartition;
use super::trial::{Stage, Trial};
use crate::os_release::running_version;
use std::path::Path;

/// Where stage 0 leaves the medium with the system image.
pub const MEDIUM: &str = "/run/corral/medium";

/// None on a machine that was not started from an installed disk.
pub fn partition() -> Option<BootPartition> {
    Some(BootPartition::at(Path::new(MEDIUM))).filter(BootPartition::is_installed)
}

/// The trial that the version which runs is on.
pub fn trial() -> Option<Trial> {
    let trial = partition()?.trial()?;
    (trial.stage == Stage::Trying && trial.version == running_version()).then_some(trial)
}

/// Is the version that runs on trial?
pub fn is_on_trial() -> bool {
    trial().is_some()
}
