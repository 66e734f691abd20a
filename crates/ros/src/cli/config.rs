//! `ros config`: what is in force and why, and changes that last. Only what differs from the defaults is ever written.

mod boot_menu;
mod show;
mod window;

use crate::cli::report::report;
use crate::resolve::store;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;
use window::Window;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a value, for example: ros config get rancher.state.dev
    Get {
        /// Dotted key
        key: String,
    },
    /// Change a value; it lasts, and counts from the next start of what reads it
    Set {
        /// Dotted key
        key: String,
        /// The value, as YAML
        value: String,
        #[command(flatten)]
        window: Window,
    },
    /// Merge a cloud-config into the configuration
    Merge {
        /// File to read; standard input if none is given
        #[arg(short, long)]
        input: Option<PathBuf>,
        #[command(flatten)]
        window: Window,
    },
    /// Merge a cloud-config and put it into force now, for example: ros config apply --confirm 2m net.yml
    Apply {
        #[command(flatten)]
        window: Window,
        /// File to read; - for standard input
        file: PathBuf,
    },
    /// Keep the change that waits to be confirmed
    Confirm,
    /// Print the configuration as YAML, without secrets
    Export {
        /// File to write, instead of standard output
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// With secrets
        #[arg(short, long)]
        private: bool,
        /// With the defaults
        #[arg(short, long)]
        full: bool,
    },
    /// Say what is wrong, with file, line, column and key; exit status 1 if there are errors
    Validate {
        /// File to check; everything that counts on this machine if none is given
        #[arg(short, long)]
        input: Option<PathBuf>,
    },
    /// Say where a value comes from, and what it overrode, for example: ros config explain rancher.network
    Explain {
        /// Dotted key; of a mapping, every key below it is explained
        key: String,
    },
    /// Show what differs: between what is in force and what is stored, or what merging a file would change
    Diff {
        /// File that would be merged
        file: Option<PathBuf>,
    },
    /// Show where the configuration comes from, what was set aside, and what waits to be confirmed
    Status,
    /// Print a JSON Schema, for editors
    Schema,
    /// Edit the kernel parameters of the installed boot menu
    Syslinux,
    /// Print the images that the services of a file use, or those of this machine
    Images {
        /// File to read
        #[arg(short, long)]
        input: Option<PathBuf>,
    },
}

/// Does what is asked.
pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::Validate { input } => show::validate(input.as_deref()),
        Command::Get { key } => report(show::get(&key)),
        Command::Set { key, value, window } => report(store::set(&key, &value, window.seconds())),
        Command::Merge { input, window } => report(store::merge_file(input.as_deref(), window.seconds())),
        Command::Apply { window, file } => report(store::apply(&file, window.seconds())),
        Command::Confirm => report(store::confirm()),
        Command::Export { output, private, full } => report(show::export(output.as_deref(), private, full)),
        Command::Explain { key } => report(show::explain(&key)),
        Command::Diff { file } => report(show::diff(file.as_deref())),
        Command::Status => report(show::status()),
        Command::Schema => report(show::schema()),
        Command::Syslinux => report(boot_menu::edit()),
        Command::Images { input } => report(show::images(input.as_deref())),
    }
}
