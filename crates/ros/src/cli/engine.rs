//! `ros gc`, `ros engine`, `ros os reexec`: the engines, beyond what the docker CLI can say.

use super::switch;
use crate::api;
use crate::resolve::switchable::ENGINE;
use crate::size::megabytes;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corral_engine::client::ask;
use corral_engine::protocol::Request;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Choice(switch::Command),
    /// Check the images of the system engine: every digest, every unpacked file
    #[command(after_help = "Examples:
  ros engine fsck            say what is damaged; exit status 1 if something is
  ros engine fsck --mend     unpack it again, or pull it again where that is not enough")]
    Fsck {
        /// Mend what can be mended
        #[arg(long)]
        mend: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ros gc            images without a name, and what was left over
  ros gc --all      every image that no container stands on")]
pub(crate) struct Clean {
    /// Also images that have a name, if no container stands on them
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Choice(command) => switch::run(&ENGINE, command),
        Command::Fsck { mend } => check(*mend),
    }
}

fn check(mend: bool) -> Result<()> {
    let found = api::post(&format!("/images/fsck?mend={mend}"))?;
    let rows = found.as_array().cloned().unwrap_or_default();
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let state = if row["mended"] == true { "mended" } else { "damaged" };
        println!("{state}: {}: {}", text("image"), text("what"));
    }
    match rows.iter().filter(|row| row["mended"] != true).count() {
        0 => {
            println!("{}", if rows.is_empty() { "all images are sound" } else { "everything was mended" });
            Ok(())
        }
        count => bail!(
            "{count} of the images' parts are damaged{}",
            if mend { "" } else { ": try ros engine fsck --mend" }
        ),
    }
}

pub(crate) fn clean(options: &Clean) -> Result<()> {
    let filter = if options.all { "?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D" } else { "" };
    let done = api::post(&format!("/images/prune{filter}"))?;
    for row in done["ImagesDeleted"].as_array().into_iter().flatten() {
        for (action, what) in row.as_object().into_iter().flatten() {
            println!("{}: {}", action.to_lowercase(), what.as_str().unwrap_or_default());
        }
    }
    let bytes = done["SpaceReclaimed"].as_u64().unwrap_or(0);
    println!("{} are free again", megabytes(bytes));
    Ok(())
}

/// PID 1 executes its binary again; nothing else notices.
pub(crate) fn reexec() -> Result<()> {
    ask(Request::Reexec).context("asking PID 1")?;
    println!("PID 1 goes on in a new process");
    Ok(())
}
