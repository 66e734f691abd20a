//! A console or an engine that is to run from the next boot on. Until then the one before it runs,
//! also over a reload of the configuration.

use super::root::Root;
use anyhow::Result;
use corral_machine::files::{remove_durably, write_atomic};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FOLDER: &str = "/var/lib/rancher/cache/enabled";

/// What was enabled for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enabled {
    /// The boot in which it was enabled.
    pub(super) boot_id: String,
    pub(super) name: String,
    /// What runs in that boot.
    pub(super) until_then: String,
}

impl Enabled {
    pub(super) fn file(service: &str) -> PathBuf {
        Path::new(FOLDER).join(format!("{service}.json"))
    }

    pub fn keep(service: &str, name: &str, until_then: &str) -> Result<()> {
        let (name, until_then) = (name.to_owned(), until_then.to_owned());
        let enabled = Enabled { boot_id: Root::machine().boot_id(), name, until_then };
        write_atomic(&Enabled::file(service), &serde_json::to_vec(&enabled)?, 0o644)
    }

    /// Brings back what was enabled before, if storing another choice has failed.
    pub fn restore(service: &str, configured: &str, running: &str) -> Result<()> {
        match configured == running {
            true => Enabled::forget(service),
            false => Enabled::keep(service, configured, running),
        }
    }

    pub fn forget(service: &str) -> Result<()> {
        remove_durably(&Enabled::file(service))
    }

    /// What runs in this boot instead of the configured one.
    pub fn until_next_boot(root: &Root, service: &str, configured: &str) -> Option<String> {
        let bytes = root.read(Enabled::file(service)).ok()?;
        let enabled: Enabled = serde_json::from_slice(&bytes).ok()?;
        let waits = enabled.name == configured && enabled.boot_id == root.boot_id();
        waits.then_some(enabled.until_then)
    }
}
