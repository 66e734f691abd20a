//! The replacement engine that runs. While the next one is fetched and checked, it stays: the
//! built-in one may be older, and not read what it has written.

use super::engines::TRIALS;
use super::file_change::FileChange;
use super::root::Root;
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
}

/// How the note on the state disk changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// As before: what runs is on trial, or takes the place of another one.
    Keep,
    /// The built-in one runs, or one of a service file, which has more than an image.
    Forget,
    Replace(LastEngine),
}

impl Note {
    pub(super) fn change(&self, root: &Root) -> Option<FileChange> {
        let file = LastEngine::file();
        match self {
            Note::Keep => None,
            Note::Forget => root.exists(&file).then(|| FileChange::remove(file)),
            Note::Replace(now) if LastEngine::load(root).as_ref() == Some(now) => None,
            Note::Replace(now) => {
                Some(FileChange::write(file, serde_json::to_vec(now).ok()?, 0o644))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_noted_once_and_forgotten_with_the_built_in_one() {
        let root = Root::at("/nonexistent");
        let image = "r/engines:new".to_owned();
        let now = Note::Replace(LastEngine { image, image_id: "sha256:1".to_owned() });
        assert_eq!(Note::Forget.change(&root), None);
        let written = now.change(&root).unwrap();
        let root = root.after(&[written]);
        assert_eq!(LastEngine::load(&root).map(Note::Replace).as_ref(), Some(&now));
        assert_eq!(now.change(&root), None);
        assert_eq!(Note::Keep.change(&root), None);
        assert_eq!(Note::Forget.change(&root), Some(FileChange::remove(LastEngine::file())));
    }
}
