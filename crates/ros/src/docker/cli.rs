//! Docker's own CLI, for what the user reads as it prints it.

use super::engine::Engine;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Pulls an image. By the CLI, because it draws the progress of each layer on the user's terminal,
/// and has the user's logins for registries and their helper programs.
pub(crate) fn pull(engine: Engine, image: &str) -> Result<()> {
    let program = match engine {
        Engine::System => "/usr/bin/system-docker",
        Engine::User => "/usr/bin/docker",
    };
    let status = Command::new(program).args(["pull", image]).status().context("starting docker")?;
    if status.success() { Ok(()) } else { bail!("pulling {image} failed") }
}
