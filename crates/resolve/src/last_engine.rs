//! The replacement engine that runs. While the next one is fetched and checked, it stays: the
//! built-in one may be older, and not read what it has written.

use super::engines::{self, TRIALS};
use super::file_change::FileChange;
use super::inputs::Inputs;
use super::root::Root;
use super::switchable::ENGINE;
use corral_plan::Service;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// An engine that is an image, as a plan has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastEngine {
    pub(super) image: String,
    pub(super) image_id: String,
}

impl LastEngine {
    fn file() -> PathBuf {
        Path::new(TRIALS).join("last.json")
    }

    pub(super) fn load(root: &Root) -> Option<LastEngine> {
        serde_json::from_slice(&root.read(LastEngine::file()).ok()?).ok()
    }

    /// What to note once these services run. One of a service file has more than an image.
    pub(super) fn note(inputs: Inputs<'_>, services: &[Service]) -> Option<FileChange> {
        let root = inputs.root;
        let engine = services.iter().find(|service| service.name.as_str() == ENGINE.service);
        let engine = engine.filter(|engine| !engine.image_id.is_empty());
        let now = engine.map(|engine| LastEngine {
            image: engine.image.clone(),
            image_id: engine.image_id.clone(),
        });
        let noted = LastEngine::load(root);
        if now == noted {
            return None;
        }
        let is_image = engines::image_among(&inputs.config.rancher.docker.engine, |_| true);
        match now.filter(|_| is_image.is_some()).map(|now| serde_json::to_vec(&now)) {
            Some(Ok(text)) => Some(FileChange::write(LastEngine::file(), text, 0o644)),
            _ => root.exists(LastEngine::file()).then(|| FileChange::remove(LastEngine::file())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::Config;
    use corral_plan::compose::parse;

    fn services(image_id: &str) -> Vec<Service> {
        let mut services = parse("f", "docker: {image: r/engines:new}").unwrap().services;
        services[0].image_id = image_id.to_owned();
        services
    }

    fn noted(root: &Root, engine: &str, services: &[Service]) -> Option<FileChange> {
        let mut config = Config::default();
        config.rancher.docker.engine = engine.to_owned();
        let environment = Default::default();
        LastEngine::note(Inputs { root, config: &config, environment: &environment }, services)
    }

    #[test]
    fn what_runs_is_noted_once_and_forgotten_with_the_built_in_one() {
        let root = Root::at("/nonexistent");
        assert_eq!(noted(&root, "default", &services("")), None);
        let note = noted(&root, "new", &services("sha256:1")).unwrap();
        assert!(matches!(&note, FileChange::Write { .. }));
        let root = root.after(&[note]);
        let expected =
            LastEngine { image: "r/engines:new".to_owned(), image_id: "sha256:1".to_owned() };
        assert_eq!(LastEngine::load(&root), Some(expected));
        assert_eq!(noted(&root, "new", &services("sha256:1")), None);
        // It stays while the next one is checked.
        assert_eq!(noted(&root, "podman", &services("sha256:1")), None);
        let forgotten = Some(FileChange::remove(LastEngine::file()));
        assert_eq!(noted(&root, "default", &services("")), forgotten);
        assert_eq!(noted(&root, "/opt/engine.yml", &services("sha256:2")), forgotten);
    }
}
