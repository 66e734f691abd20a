//! What the repositories of the configuration have. A separate process fetches it, because it
//! parses data from the network.

use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_resolve::catalogue;
use corral_resolve::index::Index;
use corral_resolve::root::Root;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The lists of all repositories. One that does not answer or has none is reported.
pub(crate) fn index(config: &Config) -> Index {
    let asked =
        query(config, &["--index"]).and_then(|output| Ok(serde_json::from_slice(&output.stdout)?));
    asked.unwrap_or_else(|error| {
        eprintln!("repositories: {error:#}");
        Index::default()
    })
}

/// The file of that path, URL or name; fetched if it was not before.
pub(crate) fn fetch(place: &str, config: &Config) -> Result<PathBuf> {
    let root = Root::machine();
    if let Some(file) = catalogue::find(&root, place, config)? {
        return if Path::new(&file).is_file() { Ok(file) } else { bail!("{place}: no such file") };
    }
    let output = query(config, &[place])?;
    if !output.status.success() {
        bail!("it could not be fetched");
    }
    catalogue::find(&root, place, config)?.context("it was fetched, but its file is missing")
}

/// Its error messages go to our stderr.
fn query(config: &Config, arguments: &[&str]) -> Result<Output> {
    Command::new("/usr/bin/ros")
        .arg("service-files")
        .args(arguments)
        .envs(config.rancher.network.proxy_environment())
        .stderr(Stdio::inherit())
        .output()
        .context("starting ros service-files")
}
