//! The engine daemon, a child of PID 1: serves the Docker Engine API, pulls images, and writes the
//! logs of containers. It holds no state that matters. When it dies, PID 1 starts it again, reports
//! every container to it and hands it the streams; the rest lies on the state disk.
//!
//! `serve` brings it up. What every part of it can reach is in `shared`. All that a client or a
//! network sends to the engine is read here, and by no other process of it.

pub mod api;
mod blocking;
mod bus;
mod checks;
mod cleaner;
mod exec;
mod execs;
mod health;
mod hub;
pub mod image;
mod init_log;
mod log_copies;
mod logs;
pub mod network;
mod own_log;
mod prepare;
mod record;
mod removal;
mod restore;
pub mod serve;
mod shared;
mod table;
mod volume;
