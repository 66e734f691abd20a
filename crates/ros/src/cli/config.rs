//! `ros config`: the effective configuration with the reason of each value, and changes that last.
//! Only what differs from the defaults is ever written.

mod boot_menu;
mod show;
mod state;
mod window;

use clap::Subcommand;
use corral_resolve::store;
use corral_terminal::output::Output;
use corral_terminal::report::{report, verdict};
use std::path::PathBuf;
use std::process::ExitCode;
use window::Window;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a value, for example: ros config get rancher.state.dev
    Get {
        /// Dotted key
        key: String,
        #[command(flatten)]
        output: Output,
    },
    /// Change a value; it lasts, and takes effect at the next start of what reads it
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
    /// Merge a cloud-config and apply it now, for example: ros config apply --confirm 2m net.yml
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
    /// Show errors with file, line, column and key; exit status 1 if there are any
    Validate {
        /// File to check; the complete configuration of this machine if none is given
        #[arg(short, long)]
        input: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Show where a value comes from and what it overrode: ros config explain rancher.network
    Explain {
        /// Dotted key; of a mapping, every key below it is explained
        key: String,
        #[command(flatten)]
        output: Output,
    },
    /// Show the differences of active and stored configuration, or what merging a file would change
    Diff {
        /// File that would be merged
        file: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Show where the configuration comes from, what was set aside, and what waits to be confirmed
    Status(Output),
    /// Print a JSON Schema, for editors
    Schema,
    /// Edit the kernel parameters of the installed boot menu
    Syslinux,
    /// Print the images that the services of a file use, or those of this machine
    Images {
        /// File to read
        #[arg(short, long)]
        input: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
}

/// Runs the command.
pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::Validate { input, output } => verdict(show::validate(input.as_deref(), output)),
        Command::Get { key, output } => report(show::get(&key, output)),
        Command::Set { key, value, window } => report(store::set(&key, &value, window.seconds())),
        Command::Merge { input, window } => {
            report(store::merge_file(input.as_deref(), window.seconds()))
        }
        Command::Apply { window, file } => report(store::apply(&file, window.seconds())),
        Command::Confirm => report(store::confirm()),
        Command::Export { output, private, full } => {
            report(show::export(output.as_deref(), private, full))
        }
        Command::Explain { key, output } => report(show::explain(&key, output)),
        Command::Diff { file, output } => report(show::diff(file.as_deref(), output)),
        Command::Status(output) => report(state::show(output)),
        Command::Schema => report(show::schema()),
        Command::Syslinux => report(boot_menu::edit()),
        Command::Images { input, output } => report(show::images(input.as_deref(), output)),
    }
}
