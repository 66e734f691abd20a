//! The engines that belong to this version of the system: `cargo xtask engines` makes them.

use serde::Deserialize;
use std::fs;

const LIST: &str = "/usr/share/ros/engines.json";

#[derive(Debug, Deserialize)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) about: String,
    /// None in an image without a list of packages.
    pub(super) version: Option<String>,
}

/// All of them; none if the list cannot be read.
pub(super) fn load() -> Vec<Known> {
    let text = fs::read(LIST).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Is it the name of one of them?
pub(super) fn has(name: &str) -> bool {
    load().iter().any(|known| known.name == name)
}

/// The version of one of them.
pub(super) fn version(name: &str) -> Option<String> {
    load().into_iter().find(|known| known.name == name)?.version
}
