//! `ros env` and `ros dev`, for scripts.

use crate::resolve::effective::load_config;
use crate::resolve::environment;
use anyhow::{Context, Result, bail};
use corral_machine::block;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Becomes the command, with `rancher.environment` added. Variables that are set already win.
pub(super) fn run(command: &[String]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command was given") };
    let mut table = environment(&load_config()?);
    table.retain(|name, _| std::env::var_os(name).is_none());
    Err(Command::new(program).args(arguments).envs(table).exec())
        .with_context(|| format!("starting {program}"))
}

/// Prints the device that a reference stands for.
pub(super) fn device(reference: &str) -> Result<()> {
    let found = block::resolve(reference).into_iter().next().unwrap_or_default();
    println!("{}", found.display());
    Ok(())
}
