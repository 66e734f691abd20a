//! What the machine should be. Pure: text goes in, values come out; no I/O, no clock.
//!
//! The path of a value: the text of each source becomes a [`Layer`] (the keys that it sets, with
//! their lines). Layers are merged in order; later ones win. The result is resolved into a
//! [`Config`], in which no key that has a default is optional. All that reads and explains text is
//! in the module `text`: a feature, which PID 1 does without.

pub mod encoding;
pub mod error;
pub mod model;
pub mod names;
mod position;
#[cfg(feature = "text")]
mod text;

pub use error::{Problem, Severity};
pub use model::Config;
pub use position::Position;
#[cfg(feature = "text")]
pub use text::*;
