//! Images. So far there is one tier: those embedded in the system image.

mod embedded;

pub use embedded::{Config, Embedded};
