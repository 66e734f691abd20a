//! `wait-for-docker`: returns when the user's Docker answers.

use crate::docker::{Client, Engine};
use anyhow::{Context, Result};
use corral_machine::deadline::pause;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(300);
/// Pause between attempts, and the timeout of one: a starting daemon accepts connections before it
/// answers.
const PAUSE: Duration = Duration::from_millis(200);
const ATTEMPT: Duration = Duration::from_secs(10);

/// Waits up to five minutes.
pub(crate) fn run() -> Result<()> {
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
    println!("Docker is ready");
    Ok(())
}
