//! What the repositories of the configuration have. A separate process fetches it, because it
//! parses data from the network.

use super::file_here;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_resolve::catalogue::{self, Role};
use corral_resolve::engines;
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
pub(crate) fn fetch(place: &str, role: Role<'_>, config: &Config) -> Result<PathBuf> {
    load(place, role, config).map_err(|error| match file_here::service_file(place) {
        Some(hint) => error.context(hint),
        None => error,
    })
}

fn load(place: &str, role: Role<'_>, config: &Config) -> Result<PathBuf> {
    let root = Root::machine();
    if let Some(file) = catalogue::find(&root, place, role, config)? {
        return if Path::new(&file).is_file() { Ok(file) } else { bail!("{place}: no such file") };
    }
    let output = query(config, &[place])?;
    if !output.status.success() && engines::is_plain(place) {
        let (list, near) = (role.list(), role.near(&root, place));
        bail!("it could not be fetched ({list} shows what there is){near}");
    }
    if !output.status.success() {
        bail!("it could not be fetched");
    }
    catalogue::find(&root, place, role, config)?.context("it was fetched, but its file is missing")
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
