//! What the machine should be. Pure: text goes in, values come out; no I/O, no clock.
//!
//! The complete path: each source's text becomes a [`Layer`] (what it said, with where it said it);
//! layers are merged in order, later ones win; the result is resolved into a [`Config`] (what is
//! meant, nothing optional that has a default).

pub mod cmdline;
pub mod encoding;
pub mod error;
pub mod explain;
pub mod export;
pub mod layer;
pub mod merge;
pub mod metadata;
pub mod model;
pub mod names;
pub mod path;
mod position;
mod resolution;
pub mod schema;
mod source;
pub mod ssh_key;
pub mod user_data;
pub mod yaml;

pub use error::{Problem, Severity};
pub use layer::Layer;
pub use merge::merged;
pub use model::Config;
pub use position::Position;
pub use resolution::{Resolution, resolve_with_problems};
pub use source::Source;

/// The layer that every machine starts from.
pub fn defaults() -> Layer {
    Layer::parse(Source::Defaults, include_str!("defaults.yml"))
}

/// What all layers mean together. What a layer said wrongly was left out when it was parsed, and is
/// in its problems.
pub fn resolve(layers: &[Layer]) -> Config {
    resolve_with_problems(layers).config
}
