//! Containers of the user that a switch of the engine stops. dockerd takes those for stopped by
//! hand, and starts them at no boot. They are listed on the state disk until they run again: a boot
//! that finds the list starts them.

use super::engines::TRIALS;
use super::root::Root;
use anyhow::Result;
use corral_machine::files::{remove_durably, write_atomic};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The service that starts them.
pub const STARTER: &str = "start-containers";

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The boot of the switch.
    boot_id: String,
    pub containers: Vec<String>,
}

impl Stopped {
    fn file() -> PathBuf {
        Path::new(TRIALS).join("stopped.json")
    }

    pub fn keep(containers: Vec<String>) -> Result<()> {
        let stopped = Stopped { boot_id: Root::machine().boot_id(), containers };
        write_atomic(&Stopped::file(), &serde_json::to_vec(&stopped)?, 0o644)
    }

    /// Those that still wait.
    pub fn load(root: &Root) -> Option<Stopped> {
        serde_json::from_slice(&root.read(Stopped::file()).ok()?).ok()
    }

    /// Those of a switch that was cut short by the end of its boot.
    pub fn of_earlier_boot(root: &Root) -> Option<Stopped> {
        Stopped::load(root).filter(|stopped| stopped.boot_id != root.boot_id())
    }

    /// Of those that wait, only these are left.
    pub fn keep_only(left: &[String]) -> Result<()> {
        let waiting = Stopped::load(&Root::machine()).map(|stopped| stopped.containers);
        let mut waiting = waiting.unwrap_or_default();
        waiting.retain(|id| left.contains(id));
        if waiting.is_empty() { Stopped::forget() } else { Stopped::keep(waiting) }
    }

    pub fn forget() -> Result<()> {
        remove_durably(&Stopped::file())
    }
}

#[cfg(test)]
mod tests {
    use super::super::file_change::FileChange;
    use super::*;

    #[test]
    fn containers_are_started_by_another_boot_than_that_of_the_switch() {
        let in_boot = |id: &str| {
            let id = FileChange::write("/proc/sys/kernel/random/boot_id", id, 0o444);
            Root::at("/nonexistent").after(&[id])
        };
        assert_eq!(Stopped::of_earlier_boot(&in_boot("first")), None);
        let stopped = Stopped { boot_id: "first".to_owned(), containers: vec!["web".to_owned()] };
        let text = serde_json::to_vec(&stopped).unwrap();
        let list = [FileChange::write(Stopped::file(), text, 0o644)];
        let same = in_boot("first\n").after(&list);
        assert_eq!(Stopped::of_earlier_boot(&same), None, "the switch itself starts them");
        let next = in_boot("second\n").after(&list);
        assert_eq!(Stopped::of_earlier_boot(&next), Some(stopped));
    }
}
