//! What the machine should be. Pure: text goes in, values come out; no I/O, no clock.
//!
//! The complete path: each source's text becomes a [`Layer`] (what it said, with where it said it);
//! layers are merged in order, later ones win; the result is resolved into a [`Config`] (what is
//! meant, nothing optional that has a default).

#[cfg(feature = "text")]
pub mod cmdline;
pub mod encoding;
pub mod error;
#[cfg(feature = "text")]
pub mod explain;
#[cfg(feature = "text")]
pub mod export;
#[cfg(feature = "text")]
pub mod layer;
#[cfg(feature = "text")]
pub mod merge;
#[cfg(feature = "text")]
pub mod metadata;
pub mod model;
pub mod names;
#[cfg(feature = "text")]
pub mod path;
mod position;
#[cfg(feature = "text")]
mod resolution;
#[cfg(feature = "text")]
pub mod schema;
#[cfg(feature = "text")]
mod source;
#[cfg(feature = "text")]
pub mod ssh_key;
#[cfg(feature = "text")]
pub mod user_data;
#[cfg(feature = "text")]
pub mod yaml;

pub use error::{Problem, Severity};
#[cfg(feature = "text")]
pub use layer::Layer;
#[cfg(feature = "text")]
pub use merge::merged;
pub use model::Config;
pub use position::Position;
#[cfg(feature = "text")]
pub use resolution::{Resolution, resolve_with_problems};
#[cfg(feature = "text")]
pub use source::Source;

/// The layer that every machine starts from.
#[cfg(feature = "text")]
pub fn defaults() -> Layer {
    Layer::parse(Source::Defaults, include_str!("defaults.yml"))
}

/// What all layers mean together. What a layer said wrongly was left out when it was parsed, and is
/// in its problems.
#[cfg(feature = "text")]
pub fn resolve(layers: &[Layer]) -> Config {
    resolve_with_problems(layers).config
}
