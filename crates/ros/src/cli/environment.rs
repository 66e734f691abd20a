//! `ros env` and `ros dev`, for scripts. Also the proxies of commands that use the network.

use anyhow::{Context, Result, bail};
use corral_machine::block;
use corral_resolve::effective::load_config;
use corral_resolve::environment;
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

/// Executes this program again with the proxies of the configuration in its environment. One
/// that is set in either case wins. A process with threads must not change its
/// own environment, so it cannot set them here.
pub(super) fn add_proxies(arguments: &[String]) -> Result<()> {
    // Without a configuration there are no proxies: a medium that was just booted, a test.
    let Ok(config) = load_config() else { return Ok(()) };
    let missing: Vec<(String, String)> = config
        .rancher
        .network
        .proxy_environment()
        .into_iter()
        .filter(|(name, _)| {
            let cases = [name.to_lowercase(), name.to_uppercase()];
            cases.iter().all(|name| std::env::var_os(name).is_none())
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let error = Command::new("/proc/self/exe").arg0("ros").args(arguments).envs(missing).exec();
    Err(error).context("starting ros with the proxies of rancher.network")
}

/// Prints the device that a reference stands for.
pub(super) fn device(reference: &str) -> Result<()> {
    let found = block::resolve(reference).into_iter().next().unwrap_or_default();
    println!("{}", found.display());
    Ok(())
}
