//! The user's containers over a switch: an engine does not take over the running containers of
//! another version. They are stopped, and started again. If this is cut short, the next boot starts
//! those that a boot usually starts (`applets::start_containers`).

use anyhow::Result;
use corral_docker::{Client, Engine, Summary};
use corral_resolve::root::Root;
use corral_resolve::stopped::Stopped;
use std::collections::BTreeSet;

/// Stops those that run; returns their ids, and those of a switch before that still wait.
pub(super) fn stop() -> Result<Vec<String>> {
    let client = Client::of(Engine::User)?;
    // An engine that does not answer is replaced all the same.
    let mut containers = client.containers().unwrap_or_else(|error| {
        eprintln!("warning: containers are not stopped: {error}");
        Vec::new()
    });
    containers.retain(|container| container.state == "running");
    let waiting = Stopped::load(&Root::machine()).map(|stopped| stopped.containers);
    let waiting = waiting.unwrap_or_default();
    let of_boot = of_boot(&client, &containers).into_iter().chain(waiting.clone());
    if let Err(error) = Stopped::keep(of_boot.collect()) {
        eprintln!("warning: if power is cut now, they are not started again: {error:#}");
    }
    for container in &containers {
        println!("stopping {}", container.name().unwrap_or(&container.id));
        if let Err(error) = client.stop(&container.id, None) {
            eprintln!("warning: it is not stopped: {error}");
        }
    }
    let stopped = containers.into_iter().map(|container| container.id);
    let stopped: BTreeSet<String> = stopped.chain(waiting).collect();
    Ok(stopped.into_iter().collect())
}

/// Those that a boot starts: dockerd remembers them as stopped by hand.
fn of_boot(client: &Client, containers: &[Summary]) -> Vec<String> {
    let ids = containers.iter().map(|container| container.id.clone());
    let starts = |id: &String| {
        client.container(id).is_ok_and(|found| found.is_some_and(|found| found.starts_at_boot()))
    };
    ids.filter(starts).collect()
}

/// Starts them again. What fails is left to the next boot too.
pub(super) fn start(containers: &[String]) -> Result<()> {
    let client = Client::of(Engine::User)?;
    let mut failed = Vec::new();
    for id in containers {
        if let Err(error) = client.start(id) {
            eprintln!("warning: a container is not started again: {error}");
            failed.push(id.clone());
        }
    }
    Stopped::keep_only(&failed)
}
