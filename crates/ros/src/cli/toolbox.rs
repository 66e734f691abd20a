//! `ros toolbox`: a shell in a container of the system engine that sees all of the machine, and is
//! removed afterwards. Its image has the tools that the console lacks.

use anyhow::{Context, Result};
use clap::Args;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The image of the console, which every machine has.
const OURS: &str = "corral/os-console";
const SHELL: [&str; 2] = ["bash", "-l"];
/// The host's namespaces, all rights, the host's files at /host, and its kernel's modules.
const RIGHTS: [&str; 10] = [
    "--privileged",
    "--network=host",
    "--pid=host",
    "--ipc=host",
    "--uts=host",
    "--volume=/:/host",
    "--volume=/lib/modules:/lib/modules:ro",
    "--volume=/etc/resolv.conf:/etc/resolv.conf:ro",
    "--volume=/etc/hosts:/etc/hosts:ro",
    "--workdir=/host",
];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// An image; without one that of the console, which is here without a network
    image: Option<String>,
    /// What runs in it, instead of the image's own command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Becomes the client of the system engine.
pub(super) fn run(options: &Options) -> Result<()> {
    let error = Command::new("/usr/bin/system-docker")
        .args(arguments(options, std::io::stdin().is_terminal()))
        .exec();
    Err(error).context("starting /usr/bin/system-docker")
}

/// The words after `system-docker`.
fn arguments(options: &Options, has_terminal: bool) -> Vec<String> {
    let mut words = vec!["run", "--rm", "--interactive"];
    words.extend(has_terminal.then_some("--tty"));
    words.extend(RIGHTS);
    words.push(options.image.as_deref().unwrap_or(OURS));
    match (&options.image, options.command.as_slice()) {
        (None, _) => words.extend(SHELL),
        (Some(_), command) => words.extend(command.iter().map(String::as_str)),
    }
    words.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(image: Option<&str>, command: &[&str], has_terminal: bool) -> String {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let options = Options { image: image.map(str::to_owned), command };
        arguments(&options, has_terminal).join(" ")
    }

    #[test]
    fn without_an_image_it_is_a_shell_in_the_console_image() {
        let line = line(None, &[], true);
        assert!(line.starts_with("run --rm --interactive --tty --privileged "), "{line}");
        assert!(line.ends_with(" corral/os-console bash -l"), "{line}");
    }

    #[test]
    fn an_image_runs_its_own_command_or_the_one_that_is_named() {
        let alpine = line(Some("alpine"), &[], true);
        assert!(alpine.ends_with("--workdir=/host alpine"), "{alpine}");
        let strace = line(Some("tools:1"), &["strace", "-p", "1"], false);
        assert!(strace.ends_with(" tools:1 strace -p 1") && !strace.contains("--tty"), "{strace}");
    }
}
