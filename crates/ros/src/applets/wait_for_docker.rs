//! `wait-for-docker`: returns when the user's Docker answers. Called by a command of the owner's at
//! boot, it lets Docker start at once: Docker waits for those commands otherwise.

use super::owners_commands;
use anyhow::{Context, Result, bail};
use corral_docker::{Client, Engine};
use corral_engine::client::{call, unexpected};
use corral_engine::error::EngineError;
use corral_engine::protocol::{Reply, Request};
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

pub(crate) fn run_quietly() -> Result<()> {
    until(Instant::now() + TIMEOUT)
}

/// The same until a moment of the caller's.
pub(crate) fn until(deadline: Instant) -> Result<()> {
    let begin = Instant::now();
    if owners_commands::is_owners_command() {
        owners_commands::let_docker_start()?;
        // First what PID 1 is still to start: it may start it between the two requests.
        let is_planned = is_planned(call(Request::Waiting)?)?;
        let found = call(Request::Inspect { container: SERVICE.to_owned() });
        if !is_planned && matches!(found, Err(EngineError::NoSuchContainer(_))) {
            bail!("there is no service {SERVICE} on this machine: nothing to wait for");
        }
    }
    let client = Client::of(Engine::User)?;
    while let Err(error) = client.ping(ATTEMPT) {
        if Instant::now() >= deadline {
            let late = || format!("Docker is not ready after {} s", begin.elapsed().as_secs());
            return Err(error).with_context(late);
        }
        // No event reports that a daemon begins to answer on a socket that may not even exist yet.
        pause(PAUSE);
    }
    Ok(())
}

/// Is Docker among the services that PID 1 is still to start? Those have no container yet.
fn is_planned(waiting: Reply) -> Result<bool> {
    match waiting {
        Reply::Value(services) => Ok(services.get(SERVICE).is_some()),
        other => Err(unexpected(&other).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_that_waits_is_there() {
        for (waiting, expected) in [
            (json!({"docker": ["it waits for network"], "ntp": []}), true),
            (json!({"docker": []}), true),
            (json!({"ntp": []}), false),
            (json!({}), false),
        ] {
            assert_eq!(is_planned(Reply::Value(waiting.clone())).unwrap(), expected, "{waiting}");
        }
        assert!(is_planned(Reply::Done).is_err());
    }
}
