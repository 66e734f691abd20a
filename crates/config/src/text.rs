//! From text to the configuration, and back: what owners, providers and the kernel's command line
//! say, how it is merged, and how it is explained. Its parts are seen at the root of the crate.

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

/// What all layers mean together. What a layer said wrongly was left out when it was parsed, and is
/// in its problems.
pub fn resolve(layers: &[Layer]) -> Config {
    resolve_with_problems(layers).config
}
