//! The configuration that a new machine starts with. It is checked before the disk is touched: a machine that nobody can
//! log in to is worse than none.

use crate::resolve::InForce;
use anyhow::{Context, Result, bail};
use corral_config::layer::{Layer, Source};
use corral_config::{Config, yaml};
use corral_machine::cloud::http::Http;
use corral_machine::files::write_atomic;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const CONF: &str = "var/lib/rancher/conf";
const NAME: &str = "cloud-config.d/user_config.yml";
const PATIENCE: Duration = Duration::from_secs(60);

/// The owner's cloud-config from a file or a URL; without one, the ssh keys of this system.
pub(super) fn load(from: Option<&str>) -> Result<Vec<u8>> {
    let Some(from) = from else { return keys_of_this_system() };
    let bytes = if from.starts_with("http://") || from.starts_with("https://") {
        let http = Http::new(Instant::now() + PATIENCE)?;
        http.get(from)?.with_context(|| format!("{from}: there is nothing"))?
    } else {
        fs::read(from).with_context(|| format!("reading {from}"))?
    };
    let layer = Layer::parse_bytes(Source::File(from.to_owned()), &bytes);
    layer.problems.iter().for_each(|problem| eprintln!("{problem}"));
    if layer.has_errors() {
        bail!("{from} has errors; nothing was changed");
    }
    let config = corral_config::resolve(&[corral_config::defaults(), layer]);
    if !lets_somebody_in(&config) {
        println!(
            "WARNING: {from} has no ssh key, no user with one and no password: nobody will be able to log in"
        );
    }
    Ok(bytes)
}

fn lets_somebody_in(config: &Config) -> bool {
    !config.ssh_authorized_keys.is_empty()
        || !config.users.is_empty()
        || !config.rancher.cloud_init.sources().is_empty()
        || !config.rancher.password.is_empty()
}

fn keys_of_this_system() -> Result<Vec<u8>> {
    let keys = InForce::load()?.config.ssh_authorized_keys;
    if keys.is_empty() {
        println!(
            "WARNING: no cloud-config (-c), and this system has no ssh keys: nobody will be able to log in over ssh"
        );
    }
    let text = yaml::to_string(&json!({ "ssh_authorized_keys": keys }))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(format!("#cloud-config\n{text}").into_bytes())
}

/// Puts it where the first boot reads it, for nobody but root.
pub(super) fn write(root: &Path, seed: &[u8]) -> Result<()> {
    let conf = root.join(CONF);
    write_atomic(&conf.join(NAME), seed, 0o600)?;
    for folder in [conf.join("cloud-config.d"), conf] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("protecting {}", folder.display()))?;
    }
    Ok(())
}
