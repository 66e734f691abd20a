//! `ros start-containers`, in a container of its own after a boot: starts the user's containers
//! that `ros engine switch` had stopped when power was cut or the command was ended. dockerd takes
//! them for stopped by hand. A trial of the engine is over by then.

use super::wait_for_docker;
use anyhow::{Context, Result};
use corral_docker::{Client, Engine, Error};
use corral_machine::console::log;
use corral_machine::deadline::pause;
use corral_resolve::root::Root;
use corral_resolve::stopped::Stopped;
use std::time::{Duration, Instant};

/// How long it is tried: an engine that failed its trial is replaced meanwhile.
const TIME: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);

/// Tries until all of them run, or the time is over: then the next boot tries it.
pub(crate) fn run() -> Result<()> {
    let Some(Stopped { containers, .. }) = Stopped::of_earlier_boot(&Root::machine()) else {
        return Ok(());
    };
    wait_for_docker::run_quietly().context("starting the containers that a switch had stopped")?;
    let client = Client::of(Engine::User)?;
    let deadline = Instant::now() + TIME;
    let mut failed = start(&client, &containers);
    while !failed.is_empty() && Instant::now() < deadline {
        // No event reports that another engine begins to answer.
        pause(PAUSE);
        let left: Vec<String> = failed.into_iter().map(|(id, _)| id).collect();
        failed = start(&client, &left);
    }
    for (id, reason) in &failed {
        log(&format!("the container {id}, which a switch of the engine had stopped: {reason}"));
    }
    let left: Vec<String> = failed.into_iter().map(|(id, _)| id).collect();
    Stopped::keep_only(&left)
}

/// Those that fail, and why. One that runs already is fine, and so is one that was removed.
fn start(client: &Client, containers: &[String]) -> Vec<(String, Error)> {
    let fails = |id: &String| match client.start(id) {
        Ok(()) | Err(Error::Refused { status: 404, .. }) => None,
        Err(error) => Some((id.clone(), error)),
    };
    containers.iter().filter_map(fails).collect()
}
