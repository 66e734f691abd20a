//! `wait-for-docker`: returns when the user's Docker answers. Called by a command of the owner's at
//! boot, it lets Docker start at once: Docker waits for those commands otherwise.

use super::owners_commands;
use crate::docker::{Client, Engine};
use anyhow::{Context, Result, bail};
use corral_engine::client::call;
use corral_engine::error::EngineError;
use corral_engine::protocol::Request;
use corral_machine::deadline::pause;
use std::time::{Duration, Instant};

/// The service that is the user's Docker.
const SERVICE: &str = "docker";
const TIMEOUT: Duration = Duration::from_secs(300);
/// Pause between attempts, and the timeout of one: a starting daemon accepts connections before it
/// answers.
const PAUSE: Duration = Duration::from_millis(200);
const ATTEMPT: Duration = Duration::from_secs(10);

/// Waits up to five minutes.
pub(crate) fn run() -> Result<()> {
    run_quietly()?;
    println!("Docker is ready");
    Ok(())
}

pub(super) fn run_quietly() -> Result<()> {
    if owners_commands::is_owners_command() {
        owners_commands::let_docker_start()?;
        let found = call(Request::Inspect { container: SERVICE.to_owned() });
        if let Err(EngineError::NoSuchContainer(_)) = found {
            bail!("there is no service {SERVICE} on this machine: nothing to wait for");
        }
    }
    let client = Client::of(Engine::User)?;
    let deadline = Instant::now() + TIMEOUT;
    while let Err(error) = client.ping(ATTEMPT) {
        if Instant::now() >= deadline {
            let late = || format!("Docker is not ready after {} s", TIMEOUT.as_secs());
            return Err(error).with_context(late);
        }
        // No event reports that a daemon begins to answer on a socket that may not even exist yet.
        pause(PAUSE);
    }
    Ok(())
}
