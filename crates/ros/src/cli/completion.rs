//! `ros completion`: what a shell completes, from the definition of the command line itself.

use clap::{Command, ValueEnum};
use clap_complete::{Shell, generate};

/// The shells that are supported.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub(super) fn print(kind: Kind, mut command: Command) {
    let shell = match kind {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    generate(shell, &mut command, "ros", &mut std::io::stdout());
}
