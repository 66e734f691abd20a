//! Docker's own CLI, where the user is to see its output.

use super::engine::Engine;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Pulls an image. The CLI draws the progress of each layer on the user's terminal. It also has the
/// user's registry logins and credential helpers.
pub fn pull(engine: Engine, image: &str) -> Result<()> {
    let program = match engine {
        Engine::System => "/usr/bin/system-docker",
        Engine::User => "/usr/bin/docker",
    };
    let status = Command::new(program).args(["pull", image]).status().context("starting docker")?;
    if status.success() { Ok(()) } else { bail!("pulling {image} failed") }
}
