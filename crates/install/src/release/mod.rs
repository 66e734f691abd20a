//! A release of the system: boot files, named by their digests in a signed manifest. `source` finds
//! a release; `copy` writes it to a boot partition.

pub mod apart;
pub mod boot_partitions;
pub(crate) mod copy;
pub mod drivers;
pub mod own_kernel;
pub(crate) mod source;

use crate::manifest::{self, parse_signature, signature_tag};
pub(crate) use crate::manifest::{Part, Release};
use anyhow::{Context, Result};
use corral_daemon::image::artifact::Artifact;
use corral_engine::error::EngineError;
use std::fs;
use std::path::Path;

/// Public keys, in hexadecimal. This system accepts releases that they signed.
const KEYS: &str = "/usr/share/ros/release-keys";

/// Was it signed with one of the keys that this system knows?
pub(crate) fn check_signature(release: &Release) -> Result<()> {
    manifest::check_signature(&release.manifest, &release.signature, &load_keys(Path::new(KEYS))?)
}

/// The signature that a registry has of an artifact; None if it has none.
fn signature_of(artifact: &Artifact) -> Result<Option<String>> {
    match artifact.sibling(&signature_tag(&artifact.digest)) {
        Ok(manifest) => Ok(parse_signature(&manifest)),
        Err(EngineError::NoSuchImage(_)) => Ok(None),
        Err(error) => Err(error).context("fetching its signature"),
    }
}

/// Checks the signature; with `--insecure` a bad one is only a loud warning.
pub(crate) fn trust(release: &Release, insecure: bool) -> Result<()> {
    match check_signature(release) {
        Err(error) if insecure => {
            println!("WARNING: {error:#}");
            println!("WARNING: this release is not verified; it is accepted because of --insecure");
            Ok(())
        }
        checked => checked,
    }
}

fn load_keys(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let items = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let texts = items.flatten().filter_map(|item| fs::read_to_string(item.path()).ok());
    Ok(texts.filter_map(|text| hex::decode(text.trim()).ok()).collect())
}
