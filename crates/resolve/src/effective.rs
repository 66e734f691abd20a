//! The effective configuration: what the last resolver wrote for the programs in system containers.

use anyhow::{Context, Result};
use corral_config::Config;
use corral_config::error::Problem;
use corral_engine::paths;
use serde::{Deserialize, Serialize};
use std::fs;

/// The configuration as PID 1 applied it last. Later stored changes are only in `paths::CONFIG`.
pub(super) const APPLIED: &str = "/run/corral/applied.json";

/// The configuration, and the problems of its sources.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EffectiveConfig {
    pub config: Config,
    pub(crate) problems: Vec<Problem>,
}

impl EffectiveConfig {
    /// The configuration that the last resolver wrote.
    pub(crate) fn load() -> Result<EffectiveConfig> {
        let text = fs::read(paths::CONFIG).context("reading the effective configuration")?;
        serde_json::from_slice(&text).context("reading the effective configuration")
    }

    /// As PID 1 applied it last.
    pub fn applied() -> EffectiveConfig {
        fs::read(APPLIED)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }
}

/// Without the problems.
pub fn load_config() -> Result<Config> {
    Ok(EffectiveConfig::load()?.config)
}
