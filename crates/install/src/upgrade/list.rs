//! `ros os list` and `ros os version`: the releases in the owner's list, and those on this machine.

use crate::release::Release;
use crate::release::drivers::Choice;
use crate::release::source::Source;
use anyhow::{Context, Result, bail};
use corral_cloud::http::Http;
use corral_config::yaml;
use corral_machine::boot_partition::Stage;
use corral_machine::boot_partition::booted;
use corral_machine::os_release::running_version;
use corral_resolve::effective::load_config;
use corral_terminal::output::Output;
use corral_terminal::report;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The document at `rancher.upgrade.url`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Releases {
    current: String,
    available: Vec<String>,
}

/// `ros os version`, with the state of an upgrade.
pub fn version() {
    println!("v{}", running_version());
    let Some(trial) = booted::partition().and_then(|partition| partition.trial()) else { return };
    match trial.stage {
        Stage::Armed => println!("version {} is tried at the next start", trial.version),
        Stage::Trying => println!("version {} is on trial", trial.version),
        Stage::Failed => {
            println!("the upgrade to version {} failed: {}", trial.version, trial.reason)
        }
    }
}

/// A version that is here, or can be had.
#[derive(Debug, Serialize)]
struct Row {
    /// Of a remote one the name of its image.
    version: String,
    /// `local`, `remote`, or empty for a version that is on no disk.
    place: &'static str,
    /// `default`, `latest`, `available` or empty.
    state: &'static str,
    running: bool,
}

/// `ros os list`. Versions that are here are shown even if the list of releases cannot be read.
pub fn list(output: Output) -> Result<()> {
    let running = running_version();
    let mut rows = Vec::new();
    if let Some(partition) = booted::partition() {
        let versions = partition.versions()?;
        rows.extend(versions.all().map(|version| Row {
            version: version.to_owned(),
            place: "local",
            state: if *version == versions.default { "default" } else { "" },
            running: version == running,
        }));
    }
    match load() {
        Ok(releases) => rows.extend(releases.available.iter().rev().map(|image| Row {
            version: image.clone(),
            place: "remote",
            state: if *image == releases.current { "latest" } else { "available" },
            running: tag(image) == running,
        })),
        Err(error) => eprintln!("{}", report::text(&error)),
    }
    if !rows.iter().any(|row| row.running) {
        rows.push(Row { version: running, place: "", state: "", running: true });
    }
    output.print(&rows, |rows| {
        for row in rows {
            let mark = if row.running { "running" } else { "" };
            let words = [row.version.as_str(), row.place, row.state, mark];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            println!("{}", words.join(" "));
        }
    })
}

/// The release to upgrade to. `accept` judges that of a registry before it is fetched.
pub(super) fn find(
    image: Option<&str>,
    insecure: bool,
    drivers: &Choice,
    accept: impl FnOnce(&Release) -> Result<()>,
) -> Result<Source> {
    let config = load_config()?;
    let image = match image {
        Some(image) => image.to_owned(),
        None if !config.rancher.upgrade.image.is_empty() => config.rancher.upgrade.image,
        None => load().context("no release was named (-i FILE or -i IMAGE)")?.current,
    };
    if image.is_empty() {
        bail!(
            "no release was named: -i FILE or -i IMAGE; the list of rancher.upgrade.url has no \
             current one"
        );
    }
    open(&image, insecure, drivers, accept)
}

/// A release in a file, in a folder or in a registry.
pub(super) fn open(
    image: &str,
    insecure: bool,
    drivers: &Choice,
    accept: impl FnOnce(&Release) -> Result<()>,
) -> Result<Source> {
    match as_file(image) {
        Some(path) => Source::open(&path),
        None => Source::fetch(image, insecure, drivers, accept),
    }
}

/// The image of this version in the owner's list.
pub(super) fn image_of(version: &str) -> Result<Option<String>> {
    Ok(load()?.available.into_iter().find(|image| tag(image) == tag_of(version)))
}

/// The tag of a version: a build id begins with `+`, which no tag has.
pub(super) fn tag_of(version: &str) -> String {
    version.replace('+', "-")
}

/// A file that an owner named; none if it is the name of an image.
pub fn as_file(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    (name.starts_with('/') || name.starts_with('.') || path.is_file()).then_some(path)
}

fn load() -> Result<Releases> {
    load_from(&load_config()?.rancher.upgrade.url)
}

/// For commands with and without a flag that names a release.
fn load_from(url: &str) -> Result<Releases> {
    if url.is_empty() {
        bail!("rancher.upgrade.url is not set: there is no list of releases");
    }
    let bytes = if url.starts_with('/') {
        fs::read(url).with_context(|| format!("reading {url}"))?
    } else {
        let http = Http::new(Instant::now() + TIMEOUT)?;
        let separator = if url.contains('?') { '&' } else { '?' };
        http.get(&format!("{url}{separator}current=v{}", running_version()))?
            .with_context(|| format!("{url}: there is no list of releases"))?
    };
    let text = String::from_utf8(bytes).with_context(|| format!("{url} is not text"))?;
    yaml::from_str(&text).map_err(|error| anyhow::anyhow!("{url}:{error}"))
}

fn tag(image: &str) -> &str {
    let tag = image.rsplit_once(':').map_or(image, |(_, tag)| tag);
    tag.strip_prefix('v').unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_not_there_is_answered_without_flags_of_one_command() {
        let error = load_from("").unwrap_err().to_string();
        assert_eq!(error, "rancher.upgrade.url is not set: there is no list of releases");
    }

    #[test]
    fn a_file_is_named_by_its_path_or_is_there() {
        for (name, expected) in [
            ("/mnt/kernel-headers.tar", true),
            ("./kernel-headers.tar", true),
            ("../kernel-headers.tar", true),
            // Tests run in the folder of their crate.
            ("Cargo.toml", true),
            ("kernel-headers.tar", false),
            ("host:5000/corral-kernel-headers:6.12", false),
        ] {
            assert_eq!(as_file(name).is_some(), expected, "{name}");
        }
    }
}
