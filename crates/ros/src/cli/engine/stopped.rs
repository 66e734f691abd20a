//! The user's containers over a switch: an engine does not take over the running containers of
//! another version. They are stopped, and started again.

use anyhow::Result;
use corral_docker::{Client, Engine};

/// Stops those that run; returns their ids.
pub(super) fn stop() -> Result<Vec<String>> {
    let client = Client::of(Engine::User)?;
    // An engine that does not answer is replaced all the same.
    let mut containers = client.containers().unwrap_or_else(|error| {
        eprintln!("warning: containers are not stopped: {error}");
        Vec::new()
    });
    containers.retain(|container| container.state == "running");
    for container in &containers {
        println!("stopping {}", container.name().unwrap_or(&container.id));
        if let Err(error) = client.stop(&container.id, None) {
            eprintln!("warning: it is not stopped: {error}");
        }
    }
    Ok(containers.into_iter().map(|container| container.id).collect())
}

/// Starts them again.
pub(super) fn start(containers: &[String]) -> Result<()> {
    let client = Client::of(Engine::User)?;
    for id in containers {
        if let Err(error) = client.start(id) {
            eprintln!("warning: a container is not started again: {error}");
        }
    }
    Ok(())
}
