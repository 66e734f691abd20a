//! `ros service`: the services of this machine by their names in compose files, of either engine.
//! Also the compose files that are added to the system's (`rancher.services_include`).

mod files;
mod of_release;
mod ps;
mod run;
mod state;
mod upgrade;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use corral_terminal::duration;
use corral_terminal::output::Output;
use run::{Action, Names};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what the catalogue and the repositories have, and what is enabled
    List(Output),
    /// Add compose files, by path, URL or name (`ros service list`); they take effect at the next
    /// start, or `ros service up`
    #[command(after_help = "Examples:
  ros service enable node-exporter && ros service up node-exporter
  ros service enable /var/lib/rancher/conf/site.yml && ros service up web
  ros service enable https://example.com/backup.yml
  ros service enable kernel-extras --from /mnt/corral-1.2.0-amd64.oci.tar")]
    Enable(Enable),
    /// Keep compose files in the configuration, but do not use them
    Disable {
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Remove compose files from the configuration
    Delete {
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Apply the stored configuration, and wait until these services run
    #[command(after_help = "Examples:
  ros service up                create what is enabled and does not exist yet
  ros service up web            and wait for this one
  ros service up --foreground web")]
    Up(run::Up),
    /// Start services that were stopped
    Start(Names),
    /// Stop services until they are started again, or the machine restarts
    Stop(Timed),
    /// Restart services
    Restart(Timed),
    /// Send services a signal
    Kill {
        #[arg(short, long, default_value = "SIGKILL")]
        signal: String,
        #[command(flatten)]
        names: Names,
    },
    /// Remove the containers of services; one that is still enabled is recreated
    Rm(run::Remove),
    /// Show containers
    Ps {
        /// Only their ids
        #[arg(short)]
        quiet: bool,
        #[command(flatten)]
        output: Output,
        /// Names of services; all if none is given
        services: Vec<String>,
    },
    /// Show the logs of services
    Logs(run::Logs),
    /// Pull images
    Pull {
        /// Continue with the other services after an error
        #[arg(long)]
        ignore_pull_failures: bool,
        #[command(flatten)]
        names: Names,
    },
    /// Switch a service to its newest image, if that works
    #[command(after_help = "Examples:
  ros service upgrade web             pull, try, switch; or all stays as it was
  ros service upgrade web --time 10m  its health check may take ten minutes")]
    Upgrade(upgrade::Options),
}

#[derive(Debug, Args)]
pub(crate) struct Enable {
    #[arg(required = true)]
    files: Vec<String>,
    /// Where kernel-extras or kernel-headers comes from, if not from the registry of the releases:
    /// a file, the folder of a mounted ISO, or an image
    #[arg(long, value_name = "FILE|IMAGE")]
    from: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Timed {
    /// How long it may take to end before it is killed: 30s, 2m, or seconds
    #[arg(short, long, default_value = "10s", value_name = "TIME", value_parser = parse_timeout)]
    timeout: Duration,
    #[command(flatten)]
    names: Names,
}

/// At most what an engine waits for.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    duration::parse_within(text, 0..=86_400)
}

fn seconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX)
}

/// A source is that of one name.
fn enable(options: &Enable) -> Result<()> {
    let Enable { files, from } = options;
    ensure!(
        from.is_none() || files.len() == 1,
        "--from goes with one name; enable the others with commands of their own"
    );
    files.iter().try_for_each(|file| files::enable(file, from.as_deref()))
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::List(output) => files::list(*output),
        Command::Enable(options) => enable(options),
        Command::Disable { files } => files.iter().try_for_each(|file| files::disable(file)),
        Command::Delete { files } => files.iter().try_for_each(|file| files::delete(file)),
        Command::Up(options) => run::up(options),
        Command::Start(names) => run::each(&names.services, Action::Start),
        Command::Stop(Timed { timeout, names }) => {
            run::each(&names.services, Action::Stop(seconds(*timeout)))
        }
        Command::Restart(Timed { timeout, names }) => {
            run::each(&names.services, Action::Restart(seconds(*timeout)))
        }
        Command::Kill { signal, names } => run::each(&names.services, Action::Kill(signal)),
        Command::Rm(options) => run::remove(options),
        Command::Ps { quiet, output, services } => ps::run(services, *quiet, *output),
        Command::Logs(options) => run::logs(options),
        Command::Pull { ignore_pull_failures, names } => {
            run::pull(&names.services, *ignore_pull_failures)
        }
        Command::Upgrade(options) => upgrade::run(options),
    }
}
