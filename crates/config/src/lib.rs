//! What the machine should be. Pure: text goes in, values come out; no I/O, no clock.
//!
//! The complete path: each source's text becomes a [`Layer`] (what it said, with where it said it);
//! layers are merged in order, later ones win; the result is resolved into a [`Config`] (what is
//! meant, nothing optional that has a default). What reads and explains text is the module `text`:
//! a feature, which PID 1 does without.

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
