//! The engine daemon, a child of PID 1: serves the Docker Engine API, pulls images, and writes the
//! logs of containers. It holds no state that matters: when it dies, PID 1 starts it again, reports
//! every container to it and hands it the streams; the rest lies on the state disk.
//!
//! `serve` brings it up. What every part of it can reach is in `shared`.

pub(crate) mod blocking;
pub(crate) mod bus;
mod checks;
mod cleaner;
pub(crate) mod exec;
pub(crate) mod execs;
mod health;
pub(crate) mod hub;
mod prepare;
pub(crate) mod record;
pub(crate) mod removal;
mod restore;
pub mod serve;
pub(crate) mod shared;
pub(crate) mod table;
