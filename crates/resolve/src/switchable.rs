//! The services that can be replaced, a row each. `resolve::replacement` decides when,
//! `cli::switch` has the commands, `applets::image_check` checks the image.

use super::index::Index;
use corral_config::Config;

/// A service that may be replaced.
#[derive(Debug)]
pub struct Switchable {
    /// Its name in commands and messages.
    pub what: &'static str,
    pub service: &'static str,
    /// The service that checks the image of a replacement.
    pub check: &'static str,
    pub key: &'static str,
    /// Its value in the configuration.
    pub configured: fn(&Config) -> &str,
    /// The replacements that a repository lists.
    pub listed: fn(Index) -> Vec<String>,
    /// What a switch does to the machine.
    pub consequences: &'static str,
    /// What the image of a replacement must have: each at one of its paths.
    pub required: &'static [&'static [&'static str]],
    /// Required beginnings of lines in its `/etc/passwd`.
    pub users: &'static [&'static str],
}

pub const CONSOLE: Switchable = Switchable {
    what: "console",
    service: "console",
    check: "console-check",
    key: "rancher.console",
    configured: |config| &config.rancher.console,
    listed: |index| index.consoles,
    consequences: "Switching consoles will
1. destroy the current console container
2. log you out
3. restart Docker",
    required: &[
        &["/usr/sbin/sshd"],
        &["/usr/bin/ssh-keygen"],
        &["/bin/sh"],
        &["/usr/sbin/getty", "/sbin/getty", "/sbin/agetty"],
        &["/usr/sbin/chpasswd"],
    ],
    // Logins use these users.
    users: &["rancher:x:1100:", "docker:x:1101:"],
};

pub const ENGINE: Switchable = Switchable {
    what: "engine",
    service: "docker",
    check: "engine-check",
    key: "rancher.docker.engine",
    configured: |config| &config.rancher.docker.engine,
    listed: |index| index.engines,
    consequences: "Switching engines will restart Docker",
    // As in RancherOS, or as in Docker's own image.
    required: &[&["/engine/dockerd", "/usr/local/bin/dockerd"]],
    users: &[],
};

/// All of them.
pub const SWITCHABLE: [&Switchable; 2] = [&CONSOLE, &ENGINE];
