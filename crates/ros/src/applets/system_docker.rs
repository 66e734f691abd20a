//! `system-docker`: the docker CLI, pointed at the engine of the system.

use super::owners_commands::{self, DOCKER};
use corral_engine::client::call;
use corral_engine::paths;
use corral_engine::protocol::{Reply, Request};
use corral_machine::deadline::pause;
use corral_terminal::report::only_root;
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Docker's client in the console, and where a service with the mounts of `all-volumes` has it.
const CLIENTS: [&str; 2] = ["/usr/bin/docker", "/usr/share/ros/layers/docker/usr/bin/docker"];
/// Commands that begin or end a run of a container.
const OF_A_RUN: [&str; 3] = ["start", "stop", "restart"];
/// Longer than the data sources on the network are waited for.
const TIMEOUT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(200);

/// Becomes the docker CLI.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("{}", only_root("system-docker"));
        return ExitCode::FAILURE;
    }
    wait_for_planned(arguments);
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

/// A service that PID 1 is still to start has no container yet. Docker Machine stops `docker` as
/// soon as it can log in, which may be earlier. Nothing reports that the container is there.
fn wait_for_planned(arguments: &[String]) {
    let deadline = Instant::now() + TIMEOUT;
    let mut is_said = false;
    while let Some(name) = first_planned(arguments, &waiting())
        && Instant::now() < deadline
    {
        if !is_said {
            if name == DOCKER && owners_commands::is_owners_command() {
                // Else it would wait for the command that waits for it.
                let _ = owners_commands::let_docker_start();
            }
            eprintln!("system-docker: {name} has not been started yet; waiting for it");
            is_said = true;
        }
        pause(PAUSE);
    }
}

/// The services that PID 1 is still to start; none if it does not answer.
fn waiting() -> Value {
    match call(Request::Waiting) {
        Ok(Reply::Value(services)) => services,
        _ => Value::Null,
    }
}

fn first_planned<'a>(arguments: &'a [String], waiting: &Value) -> Option<&'a str> {
    let (command, names) = arguments.split_first()?;
    let is_coming = |name: &&String| waiting.get(name.as_str()).is_some_and(needs_only_time);
    let mut names = names.iter().filter(is_coming);
    OF_A_RUN.contains(&command.as_str()).then(|| names.next().map(String::as_str)).flatten()
}

/// It waits for others, and none of them has failed.
fn needs_only_time(reasons: &Value) -> bool {
    let mut reasons = reasons.as_array().into_iter().flatten().filter_map(Value::as_str);
    reasons.all(|reason| reason.starts_with("it waits for "))
}

#[cfg(test)]
mod tests {
    use super::first_planned;
    use serde_json::{Value, json};

    #[test]
    fn only_a_start_or_a_stop_waits_for_a_service_of_the_plan() {
        let plan = json!({"docker": ["it waits for cloud-init-network"]});
        let failed = json!({"docker": ["console has not worked"]});
        for (line, waiting, expected) in [
            ("stop docker", &plan, Some("docker")),
            ("restart -t 5 docker", &plan, Some("docker")),
            ("stop syslog", &plan, None),
            ("logs docker", &plan, None),
            ("", &plan, None),
            ("stop docker", &Value::Null, None),
            ("stop docker", &failed, None),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(first_planned(&words, waiting), expected, "{line}");
        }
    }
}
