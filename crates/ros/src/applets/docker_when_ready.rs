//! `docker` for the owner's commands. Docker starts after them, so that they can prepare its disk
//! or its configuration. The first of them that calls `docker` lets it start, and waits for it:
//! otherwise each would wait for the other.
//! A command that opens Docker's socket by itself calls `wait-for-docker` before.

use super::owners_commands::{DOCKER, path_of_others};
use super::wait_for_docker;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Docker's options and variables that name another engine, for which there is no need to wait.
const OPTIONS: [&str; 4] = ["-H", "--host", "-c", "--context"];
const VARIABLES: [&str; 2] = ["DOCKER_HOST", "DOCKER_CONTEXT"];

/// Becomes Docker's client, when its daemon answers.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let is_other = VARIABLES.iter().any(|name| std::env::var_os(name).is_some())
        || names_another_engine(arguments);
    if !is_other {
        wait_for_docker::run_quietly()?;
    }
    let error = Command::new(DOCKER).args(arguments).env("PATH", path_of_others()?).exec();
    Err(error).context("starting docker")
}

/// Options of the client itself come before its command.
fn names_another_engine(arguments: &[String]) -> bool {
    let mut options = arguments.iter().take_while(|argument| argument.starts_with('-'));
    options.any(|option| {
        let name = option.split('=').next().unwrap_or_default();
        OPTIONS.contains(&name) || name.starts_with("-H")
    })
}

#[cfg(test)]
mod tests {
    use super::names_another_engine;

    #[test]
    fn another_engine_is_not_waited_for() {
        let is_other = |text: &str| {
            names_another_engine(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        for text in ["-H tcp://h ps", "--host=tcp://h ps", "-Htcp://h ps", "-D --context far ps"] {
            assert!(is_other(text), "{text}");
        }
        for text in ["ps", "run -H x", "-D ps", "run --name a b -c true", "--debug info"] {
            assert!(!is_other(text), "{text}");
        }
    }
}
