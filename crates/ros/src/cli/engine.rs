//! `ros gc`, `ros engine`, `ros os reexec`: what the engines can do beyond the docker CLI.

mod absent;
mod archive;
mod candidate;
mod check;
mod choice;
mod data;
mod list;
mod of_release;
mod stopped;
mod switch;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corral_docker::{Client, Engine};
use corral_engine::client::call;
use corral_engine::protocol::Request;
use corral_terminal::output::Output;
use corral_terminal::size::megabytes;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the engines for the user's Docker: current, enabled (for the next start), disabled
    List(Output),
    /// Switch now; the engine before it runs again if the new one runs no container
    #[command(after_help = "Examples:
  ros engine switch docker-28.5              a name that `list` shows
  ros engine switch /mnt/docker-28.5.tar     an image archive, as OCI or `docker save` has it
  ros engine switch /mnt/docker-28.5.2.tgz   Docker's own static programs
  ros engine switch docker:28-dind           an image
  ros engine switch /opt/engine.yml          a file with a service `docker`")]
    Switch(switch::Options),
    /// Switch at the next start
    Enable {
        /// A name that `list` shows, an archive, an image, or the path or URL of a service file
        name: String,
    },
    /// Check the images of the system engine: every digest, every unpacked file
    #[command(after_help = "Examples:
  ros engine fsck            report what is damaged; exit status 1 if something is
  ros engine fsck --repair   unpack it again, or pull it again where that is not enough")]
    Fsck {
        /// Repair what can be repaired
        #[arg(long, alias = "mend")]
        repair: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ros gc            images without a name, and what was left over
  ros gc --all      every image that no container stands on")]
pub(crate) struct Clean {
    /// Also images that have a name, if no container uses them
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::List(output) => list::run(*output),
        Command::Switch(options) => switch::run(options),
        Command::Enable { name } => switch::enable(name),
        Command::Fsck { repair } => check(*repair),
    }
}

fn check(repair: bool) -> Result<()> {
    let rows = Client::of(Engine::System)?.check_images(repair)?;
    for row in &rows {
        let state = if row.repaired { "repaired" } else { "damaged" };
        println!("{state}: {}: {}", row.image, row.what);
    }
    match rows.iter().filter(|row| !row.repaired).count() {
        0 => {
            println!(
                "{}",
                if rows.is_empty() { "all images are intact" } else { "everything was repaired" }
            );
            Ok(())
        }
        count => bail!(
            "{count} of the images' parts are damaged{}",
            if repair { "" } else { ": try ros engine fsck --repair" }
        ),
    }
}

pub(crate) fn clean(options: &Clean) -> Result<()> {
    let done = Client::of(Engine::System)?.prune_images(options.all)?;
    for (action, what) in done.images_deleted.iter().flatten() {
        println!("{}: {}", action.to_lowercase(), what.as_str().unwrap_or_default());
    }
    println!("reclaimed {}", megabytes(done.space_reclaimed));
    Ok(())
}

/// PID 1 executes its binary again; containers and clients continue.
pub(crate) fn reexec() -> Result<()> {
    call(Request::Reexec).context("calling PID 1")?;
    println!("PID 1 continues in a new process");
    Ok(())
}
