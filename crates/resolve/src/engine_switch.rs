//! What a switch of the engine leaves on the state disk, for a roll-back and for the next boot: the
//! image that is tried under a name.

use super::enabled::Enabled;
use super::engines::{self, Failure, TRIALS};
use super::last_engine::LastEngine;
use super::root::Root;
use super::switchable::ENGINE;
use anyhow::Result;
use corral_config::Config;
use corral_machine::files::{remove_durably, write_atomic};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// An image that is tried under the name of another image. The name moves to it when it has proved
/// itself; until then, a roll-back finds the other image there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub name: String,
    pub image_id: String,
    pub mark: String,
}

impl Candidate {
    fn file() -> PathBuf {
        Path::new(TRIALS).join("candidate.json")
    }

    pub fn load(root: &Root) -> Option<Candidate> {
        serde_json::from_slice(&root.read(Candidate::file()).ok()?).ok()
    }

    pub fn store(&self) -> Result<()> {
        write_atomic(&Candidate::file(), &serde_json::to_vec(self)?, 0o644)
    }

    /// Its name is that of the other image again.
    pub fn forget() -> Result<()> {
        remove_durably(&Candidate::file())
    }

    /// Has it run a container?
    pub fn has_proof(&self, root: &Root) -> bool {
        engines::has_proof(root, &self.mark)
    }
}

/// What is to run in this boot: the name of an engine, and the image that is tried under it.
pub(super) fn of_this_boot(root: &Root, configured: &str) -> (String, Option<Candidate>) {
    match Enabled::until_next_boot(root, ENGINE.service, configured) {
        Some(before) => (before, None),
        None => {
            let candidate = Candidate::load(root).filter(|candidate| candidate.name == configured);
            (configured.to_owned(), candidate)
        }
    }
}

/// The name of the engine that runs: not the configured one while that waits for the next boot, or
/// if it failed.
pub fn running(root: &Root, configured: &str) -> String {
    let (name, _) = of_this_boot(root, configured);
    if Failure::load(root).is_none_or(|failure| failure.name != name) {
        return name;
    }
    let before = engines::before(root);
    if before.is_empty() { "default".to_owned() } else { before }
}

/// Is the engine of this image there only until the one of that name is checked?
pub fn stands_in(root: &Root, image: &str, name: &str, config: &Config) -> bool {
    let is_its_own =
        name == image || engines::in_registry(name, config).is_some_and(|own| own == image);
    !is_its_own && LastEngine::load(root).is_some_and(|last| last.image == image)
}

#[cfg(test)]
mod tests {
    use super::super::file_change::FileChange;
    use super::*;

    fn with(root: &Root, file: PathBuf, value: &impl Serialize) -> Root {
        root.after(&[FileChange::write(file, serde_json::to_vec(value).unwrap(), 0o644)])
    }

    fn in_boot(root: &Root, id: &str) -> Root {
        root.after(&[FileChange::write("/proc/sys/kernel/random/boot_id", id, 0o444)])
    }

    #[test]
    fn an_enabled_engine_waits_for_the_next_boot() {
        let root = in_boot(&Root::at("/nonexistent"), "first\n");
        let candidate =
            Candidate { name: "new".to_owned(), image_id: "i".to_owned(), mark: "m".to_owned() };
        let root = with(&root, Candidate::file(), &candidate);
        assert_eq!(of_this_boot(&root, "new"), ("new".to_owned(), Some(candidate.clone())));
        // Another build of the same name: its name stands for the image before it.
        for before in ["old", "new"] {
            let (boot_id, name) = ("first".to_owned(), "new".to_owned());
            let enabled = Enabled { boot_id, name, until_then: before.to_owned() };
            let root = with(&root, Enabled::file(ENGINE.service), &enabled);
            assert_eq!(of_this_boot(&root, "new"), (before.to_owned(), None));
            assert_eq!(running(&root, "new"), before);
            assert_eq!(of_this_boot(&root, "third"), ("third".to_owned(), None));
            let next = in_boot(&root, "second\n");
            assert_eq!(of_this_boot(&next, "new"), ("new".to_owned(), Some(candidate.clone())));
        }
    }

    #[test]
    fn an_engine_that_failed_does_not_run() {
        let root = Root::at("/nonexistent");
        let root = root.after(&[
            FileChange::write(Path::new(TRIALS).join("before"), "old", 0o644),
            FileChange::write(
                Path::new(TRIALS).join("failed.json"),
                r#"{"mark":"m","name":"new","reason":"no"}"#,
                0o644,
            ),
        ]);
        assert_eq!((running(&root, "new"), running(&root, "old")), ("old".into(), "old".into()));
    }

    #[test]
    fn an_engine_stands_in_for_one_that_is_not_checked() {
        let last = serde_json::json!({"image": "r/engines:old", "image_id": "sha256:1"});
        let root = with(&Root::at("/nonexistent"), Path::new(TRIALS).join("last.json"), &last);
        let mut config = Config::default();
        config.rancher.docker.engine_images = "r/engines".to_owned();
        for (image, name, expected) in [
            ("r/engines:old", "old", false),
            ("r/engines:old", "r/engines:old", false),
            ("r/engines:old", "new", true),
            ("r/engines:old", "docker:28-dind", true),
            // Of a service file.
            ("other", "new", false),
        ] {
            assert_eq!(stands_in(&root, image, name, &config), expected, "{image} {name}");
        }
    }
}
