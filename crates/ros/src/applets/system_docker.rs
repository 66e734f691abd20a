//! `system-docker`: the docker CLI, pointed at the engine of the system.

use corral_engine::paths;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Becomes the docker CLI.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("system-docker: Need to be root; try sudo");
        return ExitCode::FAILURE;
    }
    let error = Command::new("/usr/bin/docker")
        .arg0("system-docker")
        .env("DOCKER_HOST", format!("unix://{}", paths::API_SOCKET))
        .env_remove("DOCKER_CONTEXT")
        .args(arguments)
        .exec();
    eprintln!("system-docker: starting /usr/bin/docker: {error}");
    ExitCode::FAILURE
}
