//! Containers, for three processes:
//!
//! - PID 1 (crate `init`) holds the table of containers, starts helpers (`core`), and never does more than bookkeeping;
//! - a creation helper (`runtime`), single-threaded and short-lived, builds or tears down one container;
//! - the engine daemon (crate `daemon`) serves the Docker Engine API and writes logs, and may die at any time.
//!
//! `protocol` is what they say to each other. HTTP, TLS and what registries say are the daemon's; archives and names of
//! images, which come from strangers too, are read here (`archive`, `image`).

pub mod archive;
pub mod client;
pub mod core;
pub mod durable;
pub mod error;
pub mod id;
pub mod identity;
pub mod image;
pub mod paths;
pub mod protocol;
pub mod runtime;
mod shapes;
pub mod signal;
pub mod spec;
pub mod sys;
pub mod time;
