//! `ros bootcmd`: the owner's early commands (`bootcmd`), in a system container before udev,
//! network and console. A command that hangs is killed: it would keep everyone from logging in.

use super::console::commands;
use anyhow::Result;
use corral_machine::console::log;
use corral_machine::program;
use corral_resolve::effective::load_config;
use std::time::{Duration, Instant};

/// Timeout for all commands together.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the commands in their order. One that fails is reported, and the next one runs.
pub(crate) fn run() -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    for item in &load_config()?.bootcmd {
        let Some(mut command) = commands::prepare(item) else { continue };
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                log(&format!("bootcmd: {item:?}: {error}"));
                continue;
            }
        };
        let Some(status) = program::wait(&mut child, deadline)? else {
            let _ = child.kill();
            log(&format!(
                "bootcmd: {item:?} did not finish within {} s; continuing without it",
                TIMEOUT.as_secs()
            ));
            return Ok(());
        };
        if !status.success() {
            log(&format!("bootcmd: {item:?}: {status}"));
        }
    }
    Ok(())
}
