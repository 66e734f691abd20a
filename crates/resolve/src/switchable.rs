//! The services that can be replaced, a row each. `resolve::replacement` decides when,
//! `cli::switch` has the commands, `applets::image_check` checks the image.

use super::index::Index;
use super::{console_images, engines};
use corral_config::Config;

/// A service that may be replaced.
#[derive(Debug)]
pub struct Switchable {
    /// Its name in commands and messages.
    pub what: &'static str,
    pub service: &'static str,
    /// The service that checks the image of a replacement.
    pub check: &'static str,
    /// The service that watches a replacement, if there is one.
    pub guard: Option<&'static str>,
    pub key: &'static str,
    /// Its value in the configuration.
    pub configured: fn(&Config) -> &str,
    /// Is it a name of the built-in one?
    pub is_built_in: fn(&str) -> bool,
    /// The replacements that a repository lists.
    pub listed: fn(Index) -> Vec<String>,
    /// Names that need no repository.
    pub stock: &'static [(&'static str, &'static str)],
    /// The image that such a name, or a reference, stands for.
    pub image: fn(&str, &Config) -> Option<String>,
    /// What a switch does to the machine.
    pub consequences: &'static str,
    /// What the image of a replacement must have: each at one of its paths.
    pub required: &'static [&'static [&'static str]],
}

pub const CONSOLE: Switchable = Switchable {
    what: "console",
    service: "console",
    check: "console-check",
    guard: Some("console-guard"),
    key: "rancher.console",
    configured: |config| &config.rancher.console,
    is_built_in: |name| ["", "default"].contains(&name),
    listed: |index| index.consoles,
    stock: &console_images::STOCK,
    image: |name, _| console_images::image(name),
    consequences: "Switching consoles will
1. destroy the current console container
2. log you out
3. restart Docker",
    // A shell, which the trial of a login finds.
    required: &[],
};

pub const ENGINE: Switchable = Switchable {
    what: "engine",
    service: "docker",
    check: "engine-check",
    guard: None,
    key: "rancher.docker.engine",
    configured: |config| &config.rancher.docker.engine,
    is_built_in: engines::is_built_in,
    listed: |index| index.engines,
    stock: &[],
    image: engines::image,
    consequences: "Switching engines will restart Docker",
    // As in RancherOS, or as in Docker's own image.
    required: &[&["/engine/dockerd", "/usr/local/bin/dockerd", "/engine/podman"]],
};

/// All of them.
pub const SWITCHABLE: [&Switchable; 2] = [&CONSOLE, &ENGINE];
