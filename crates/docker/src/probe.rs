//! A container that shows that the user's Docker works, and does not only answer. It needs no image
//! of a registry: its image is empty, and its program is this one.
//!
//! Docker's own CLI starts it. A version or an engine on trial has to prove that the CLI works,
//! too.

use anyhow::{Context, Result, bail};
use corral_machine::program;
use std::process::Command;
use std::time::{Duration, Instant};

const IMAGE: &str = "corral/probe:trial";
/// An empty tar archive: the image contains only its bind mounts.
const EMPTY_ARCHIVE: [u8; 1024] = [0; 1024];
/// At least so long for each step, even if the deadline is near.
const SHORTEST: Duration = Duration::from_secs(1);

/// Runs the container on this network of Docker's, until the deadline.
pub fn run(network: &str, deadline: Instant) -> Result<()> {
    docker(&["info", "--format", "{{.ServerVersion}}"], &[], deadline)?;
    docker(&["import", "-", IMAGE], &EMPTY_ARCHIVE, deadline)?;
    let run = [
        "run",
        "--rm",
        "--network",
        network,
        "-v",
        "/usr/bin/ros:/ros:ro",
        IMAGE,
        "/ros",
        "--version",
    ];
    let said = docker(&run, &[], deadline);
    let _ = docker(&["rmi", "-f", IMAGE], &[], deadline);
    if said?.contains("version") {
        Ok(())
    } else {
        bail!("unexpected output of the probe container")
    }
}

fn docker(arguments: &[&str], input: &[u8], deadline: Instant) -> Result<String> {
    let deadline = deadline.max(Instant::now() + SHORTEST);
    program::output(Command::new("/usr/bin/docker").args(arguments), input, deadline)
        .and_then(program::Ended::success)
        .with_context(|| format!("docker {}", arguments.first().unwrap_or(&"")))
}
