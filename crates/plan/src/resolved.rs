//! What the resolver hands over to PID 1: the configuration, and the plan that follows from it.

use crate::graph::Plan;
use corral_config::Config;
use corral_config::error::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What services may use by name, in `${NAME}`; `SERVICE/NAME` is for one service only.
pub type Environment = BTreeMap<String, String>;

/// All that PID 1 knows of what the owner wrote.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Resolved {
    pub config: Config,
    pub plan: Plan,
    pub problems: Vec<Problem>,
    /// `rancher.environment`, the proxies, the kernel's version.
    pub environment: Environment,
    /// A change waits to be confirmed.
    pub unconfirmed: Option<Unconfirmed>,
}

/// A change that is rolled back unless it is confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// Of this change: another one is not rolled back in its place.
    pub id: String,
    /// Seconds until then.
    pub within: u64,
}
