//! The list of what a repository has.

use serde::{Deserialize, Serialize};

/// What a repository has, by its `index.yml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Index {
    pub services: Vec<String>,
    pub consoles: Vec<String>,
    pub engines: Vec<String>,
    /// The repositories that did not answer, by their names.
    pub missing: Vec<String>,
}
