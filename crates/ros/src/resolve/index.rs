//! The list of what a repository has.

use serde::{Deserialize, Serialize};

/// What a repository has, by its `index.yml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Index {
    pub(crate) services: Vec<String>,
    pub(crate) consoles: Vec<String>,
    pub(crate) engines: Vec<String>,
}
