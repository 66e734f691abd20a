//! `ros config`: the effective configuration with the reason of each value, and changes that last.
//! Only what differs from the defaults is ever written.

mod boot_menu;
mod show;
mod state;
mod window;

use clap::{Args, Subcommand};
use corral_resolve::store;
use corral_terminal::output::Output;
use corral_terminal::report::{report, verdict};
use std::path::{Path, PathBuf};
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
    /// Merge a cloud-config into the configuration; without a file, that of standard input
    #[command(after_help = "Examples:
  ros config merge net.yml
  ssh web-1 cat all.yml | sudo ros config merge")]
    Merge {
        #[command(flatten)]
        document: Document,
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
        #[command(flatten)]
        document: Required,
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
  ros config validate my.yml             a file, before it is used")]
    Validate {
        #[command(flatten)]
        document: Document,
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
        #[command(flatten)]
        document: Document,
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
  ros config images site.yml             of a file")]
    Images {
        #[command(flatten)]
        document: Document,
        #[command(flatten)]
        output: Output,
    },
}

/// A cloud-config, by position or by `-i` as in RancherOS.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Document {
    /// File to read
    file: Option<PathBuf>,
    /// The same
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
}

impl Document {
    fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.input.as_deref())
    }
}

/// The same, where there is no other source.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Required {
    /// File to read; - for standard input
    file: Option<PathBuf>,
    /// The same
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
}

impl Required {
    fn path(&self) -> &Path {
        self.file.as_deref().or(self.input.as_deref()).unwrap_or(Path::new("-"))
    }
}

impl Command {
    /// True for what reads only the caller's own file, or none.
    pub(super) fn works_for_everyone(&self) -> bool {
        match self {
            Command::Validate { document, .. } | Command::Images { document, .. } => {
                document.path().is_some()
            }
            Command::Schema => true,
            _ => false,
        }
    }
}

/// Runs the command.
pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::Validate { document, output } => verdict(show::validate(document.path(), output)),
        Command::Get { key, output } => report(show::get(&key, output)),
        Command::Set { key, value, window } => report(store::set(&key, &value, window.seconds())),
        Command::Merge { document, window } => {
            report(store::merge_file(document.path(), window.seconds()))
        }
        Command::Apply { window, document } => {
            report(store::apply(document.path(), window.seconds()))
        }
        Command::Confirm => report(store::confirm()),
        Command::Export { output, private, full } => {
            report(show::export(output.as_deref(), private, full))
        }
        Command::Explain { key, output } => report(show::explain(&key, output)),
        Command::Diff { document, output } => report(show::diff(document.path(), output)),
        Command::Status(output) => report(state::show(output)),
        Command::Schema => report(show::schema()),
        Command::Syslinux => report(boot_menu::edit()),
        Command::Images { document, output } => report(show::images(document.path(), output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Config {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn a_document_is_named_by_position_or_by_a_flag() {
        for command in ["apply", "merge", "validate", "diff", "images"] {
            let parse = |more: &str| {
                Config::try_parse_from(format!("config {command}{more}").split(' ')).is_ok()
            };
            assert!(parse(" f.yml") && parse(" -i f.yml"), "{command}");
            assert!(!parse(" f.yml -i g.yml"), "{command}: two");
            assert_eq!(parse(""), command != "apply", "{command}: none");
        }
    }

    #[test]
    fn only_what_reads_a_file_of_the_caller_works_without_root() {
        for (words, works) in [
            ("config validate f.yml", true),
            ("config images -i f.yml", true),
            ("config schema", true),
            ("config validate", false),
            ("config images", false),
            ("config diff f.yml", false),
            ("config get hostname", false),
        ] {
            let Config { command } = Config::try_parse_from(words.split(' ')).unwrap();
            assert_eq!(command.works_for_everyone(), works, "{words}");
        }
    }
}
