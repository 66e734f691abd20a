//! Programs on crates.io that a check or the manual needs. Each is built once for all checkouts of
//! this machine.

use crate::{paths, progress, sh};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// A program, in the one version that is used.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// For `cargo install`: which of its features are built.
    pub(crate) features: &'static [&'static str],
}

/// They run for seconds only, so they are built fast, without optimizations.
const PROFILE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

impl Tool {
    /// The program, built if it is not there.
    pub(crate) fn install(&self) -> Result<PathBuf> {
        let Tool { name, version, features } = *self;
        let folder = paths::shared_cache("cargo-tools");
        let kept = folder.join(format!("{name}-{version}"));
        if kept.exists() {
            return Ok(kept);
        }
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        // Another checkout may build the same at the same time: the second one replaces the first
        // one by the same.
        let work = folder.join(format!("{name}-{}", std::process::id()));
        let mut cargo = sh::cargo();
        cargo.env(paths::TARGET_VARIABLE, work.join("target")).envs(PROFILE);
        cargo.args(["install", "--locked", "--version", version, "--root"]).arg(&work).arg(name);
        cargo.args(features);
        let title = format!("building {name} {version} (some minutes, once)");
        progress::step(&title, || sh::output(&mut cargo))
            .with_context(|| format!("installing {name} {version} from crates.io"))?;
        fs::rename(work.join("bin").join(name), &kept)
            .with_context(|| format!("keeping {name}"))?;
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
        Ok(kept)
    }
}
