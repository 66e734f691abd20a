//! `system-docker`: the docker CLI, pointed at the engine of the system.

use corral_engine::paths;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Docker's client in the console, and where a service with the mounts of `all-volumes` has it.
const CLIENTS: [&str; 2] = ["/usr/bin/docker", "/usr/share/ros/layers/docker/usr/bin/docker"];

/// Becomes the docker CLI.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("system-docker: Need to be root; try sudo");
        return ExitCode::FAILURE;
    }
    let is_there = |client: &&str| Path::new(client).exists();
    let client = CLIENTS.into_iter().find(is_there).unwrap_or(CLIENTS[0]);
    let error = Command::new(client)
        .arg0("system-docker")
        .env("DOCKER_HOST", format!("unix://{}", paths::API_SOCKET))
        .env_remove("DOCKER_CONTEXT")
        .args(arguments)
        .exec();
    eprintln!("system-docker: starting {client}: {error}");
    ExitCode::FAILURE
}
