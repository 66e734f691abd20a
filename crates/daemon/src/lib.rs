//! The engine daemon, a child of PID 1: serves the Docker Engine API, pulls images, and writes the
//! logs of containers. It may die at any time: PID 1 starts it again, reports every container to it
//! and passes the streams. Records, images and networks are on the state disk.
//!
//! `serve` brings it up. What every part of it can reach is in `shared`. What a client or a network
//! sends to the engine is read in this process only. Seccomp profiles are the exception: the
//! creation helper reads them.

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
