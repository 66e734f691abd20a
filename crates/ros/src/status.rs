//! `ros status`: the machine on one screen. Each part is collected for itself; one that cannot be
//! read does not hide the rest. Without root, what only root may see is left out and named.

mod clock;
mod collect;
mod disk;
mod model;
mod text;

pub(crate) use text::time_left;

use anyhow::Result;
use corral_terminal::output::Output;
use model::Status;

/// Prints the status. False if something is wrong.
pub(crate) fn run(output: Output) -> Result<bool> {
    let status = Status::load();
    output.print(&status, |status| print!("{}", text::render(status)))?;
    Ok(status.is_well)
}
