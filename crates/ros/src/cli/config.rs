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
    /// Print a value
    #[command(after_help = "Examples:
  ros config get rancher.state.dev
  ros config get --format json rancher.network")]
    Get {
        /// Dotted key
        key: String,
        #[command(flatten)]
        output: Output,
    },
    /// Change a value; it lasts, and takes effect at the next start of what reads it
    #[command(after_help = "Examples:
  ros config set hostname web-1
  ros config set rancher.network.dns.nameservers '[192.168.1.1]'")]
    Set {
        /// Dotted key
        key: String,
        /// The value, as YAML
        value: String,
        #[command(flatten)]
        window: Window,
    },
    /// Merge a cloud-config into the configuration
    #[command(after_help = "Examples:
  ros config merge -i net.yml
  ssh web-1 cat all.yml | sudo ros config merge")]
    Merge {
        /// File to read; standard input if none is given
        #[arg(short, long)]
        input: Option<PathBuf>,
        #[command(flatten)]
        window: Window,
    },
    /// Merge a cloud-config and apply it now
    #[command(after_help = "Examples:
  ros config apply net.yml
  ros config apply --confirm 2m net.yml    rolled back unless `ros config confirm` is run")]
    Apply {
        #[command(flatten)]
        window: Window,
        /// File to read; - for standard input
        file: PathBuf,
    },
    /// Keep the change that waits to be confirmed
    #[command(after_help = "Examples:
  ros config apply --confirm 2m net.yml
  ros config confirm")]
    Confirm,
    /// Print the configuration as YAML, without secrets
    #[command(after_help = "Examples:
  ros config export                      what differs from the defaults
  ros config export --private -o all.yml with secrets, to be merged elsewhere")]
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
    #[command(after_help = "Examples:
  ros config validate                    the configuration of this machine
  ros config validate -i my.yml          a file, before it is used")]
    Validate {
        /// File to check; the complete configuration of this machine if none is given
        #[arg(short, long)]
        input: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Show where a value comes from, and what it overrode
    #[command(after_help = "Examples:
  ros config explain hostname
  ros config explain rancher.network     every key below it")]
    Explain {
        /// Dotted key; of a mapping, every key below it is explained
        key: String,
        #[command(flatten)]
        output: Output,
    },
    /// Show the differences of active and stored configuration, or what merging a file would change
    #[command(after_help = "Examples:
  ros config diff                        what takes effect at the next start
  ros config diff net.yml                what merging it would change")]
    Diff {
        /// File that would be merged
        file: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Show where the configuration comes from, what was set aside, and what waits to be confirmed
    #[command(after_help = "Examples:
  ros config status
  ros config status --format json")]
    Status(Output),
    /// Print a JSON Schema, for editors
    #[command(after_help = "Examples:
  ros config schema > corral.schema.json")]
    Schema,
    /// Edit the kernel parameters of the installed boot menu
    #[command(after_help = "Examples:
  sudo ros config syslinux               in $EDITOR, else in vi")]
    Syslinux,
    /// Print the images that the services of a file use, or those of this machine
    #[command(after_help = "Examples:
  ros config images                      of this machine
  ros config images -i site.yml          of a file")]
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
