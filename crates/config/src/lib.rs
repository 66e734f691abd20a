//! What the machine should be. Pure: text goes in, values come out; no I/O, no clock.
pub mod yaml;
