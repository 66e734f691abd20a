//! Which version of the system runs: os-release(5) of the system image.

use std::fs;

/// The file of the system image.
pub const FILE: &str = "/usr/share/ros/os-release";

/// The version that runs; that of this program where there is no system image.
pub fn running_version() -> String {
    let text = fs::read_to_string(FILE).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix("VERSION_ID="));
    found.map_or_else(
        || env!("CARGO_PKG_VERSION").to_owned(),
        |version| version.trim_matches('"').to_owned(),
    )
}
