//! Containers, for three processes:
//!
//! - PID 1 (crate `init`) holds the table of containers, starts helpers (`pid1`), and never does
//!   more than bookkeeping;
//! - a creation helper (`runtime`), single-threaded and short-lived, builds or tears down one
//!   container;
//! - the engine daemon (crate `daemon`) serves the Docker Engine API and writes logs, and may die
//!   at any time.
//!
//! `protocol` is the messages between them. HTTP, TLS and the answers of registries are the
//! daemon's. Archives and names of images, which come from untrusted sources too, are read here
//! (`archive`, `image`).

pub mod archive;
pub mod client;
pub mod durable;
pub mod error;
pub mod id;
pub mod identity;
pub mod image;
pub mod paths;
pub mod pid1;
pub mod protocol;
pub mod runtime;
mod shapes;
pub mod signal;
pub mod spec;
pub mod sys;
pub mod time;
