//! `ros bootcmd`, in a system container of its own before udev, network and console: the owner's early commands. One
//! that hangs is ended: nobody would get in otherwise.

use super::console::commands;
use crate::resolve::effective::load_config;
use anyhow::Result;
use corral_machine::console::say;
use corral_machine::program;
use std::time::{Duration, Instant};

/// How long all of them may take together.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs them in their order; one that fails is told, and the next one follows.
pub(crate) fn run() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for item in &load_config()?.bootcmd {
        let Some(mut command) = commands::prepare(item) else { continue };
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                say(&format!("bootcmd: {item:?}: {error}"));
                continue;
            }
        };
        let Some(status) = program::wait(&mut child, deadline)? else {
            let _ = child.kill();
            say(&format!(
                "bootcmd: {item:?} was not done within {} s; going on without it",
                PATIENCE.as_secs()
            ));
            return Ok(());
        };
        if !status.success() {
            say(&format!("bootcmd: {item:?}: {status}"));
        }
    }
    Ok(())
}
