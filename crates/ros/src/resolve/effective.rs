//! The effective configuration: what the last resolver left for the programs in system containers.

use anyhow::{Context, Result};
use corral_config::Config;
use corral_config::error::Problem;
use corral_engine::paths;
use corral_machine::files::write_atomic;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// As PID 1 applied it last; what is stored since then is only in `paths::CONFIG`.
const APPLIED: &str = "/run/corral/applied.json";

/// The configuration, and what was wrong with what was said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct EffectiveConfig {
    pub(crate) config: Config,
    pub(crate) problems: Vec<Problem>,
}

impl EffectiveConfig {
    /// As the last resolver left it.
    pub(crate) fn load() -> Result<EffectiveConfig> {
        let text = fs::read(paths::CONFIG).context("reading the effective configuration")?;
        serde_json::from_slice(&text).context("reading the effective configuration")
    }

    /// As PID 1 applied it last.
    pub(crate) fn applied() -> EffectiveConfig {
        fs::read(APPLIED).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// For root only: there are secrets in it.
    pub(super) fn save(&self) -> Result<()> {
        write_atomic(Path::new(paths::CONFIG), &serde_json::to_vec(self)?, 0o600)
    }
}

/// Without the problems.
pub(crate) fn load_config() -> Result<Config> {
    Ok(EffectiveConfig::load()?.config)
}

/// PID 1 applies what was saved last.
pub(super) fn note_applied() -> Result<()> {
    write_atomic(Path::new(APPLIED), &fs::read(paths::CONFIG)?, 0o600)
}
