//! The outcome of a run of a story.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use vmtest::Kind;

/// The result of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Skipped,
    /// Why, if its output does not say so.
    Failed(String),
}

/// One run of a story.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) took: Took,
    /// Processor seconds of all its processes but engines in sandboxes; None without root.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) log: PathBuf,
    /// Its own folders: consoles, and other files that its machines left.
    pub(super) folders: Vec<PathBuf>,
}

/// What a story took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Took {
    pub(super) seconds: f64,
    /// `uml`, `qemu`: the kinds of machines that it started.
    pub(super) kinds: BTreeSet<String>,
}

impl Took {
    pub(super) fn is_uml(&self) -> bool {
        self.kinds.iter().all(|kind| kind == Kind::Uml.name())
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(kind.name())
    }
}
