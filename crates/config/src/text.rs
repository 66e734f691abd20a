//! From text to the configuration and back: reads cloud-configs, user data and the kernel's command
//! line, merges them, and explains the result. Its public parts are exported at the root of the
//! crate.

pub mod cmdline;
pub mod duration;
pub mod explain;
pub mod export;
pub mod layer;
pub mod merge;
pub mod metadata;
pub mod path;
mod resolution;
pub mod schema;
mod source;
pub mod ssh_key;
pub mod user_data;
pub mod yaml;

pub use layer::Layer;
pub use merge::merged;
pub use resolution::{Resolution, resolve_with_problems};
pub use source::Source;

use crate::model::Config;

/// The layer that every machine starts from.
pub fn defaults() -> Layer {
    Layer::parse(Source::Defaults, include_str!("defaults.yml"))
}

/// The configuration of all layers. Wrong keys of a layer were left out when it was parsed, and are
/// in its problems.
pub fn resolve(layers: &[Layer]) -> Config {
    resolve_with_problems(layers).config
}
