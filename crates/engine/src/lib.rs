//! Containers and images. Three processes share this crate:
//!
//! - PID 1 holds the table of containers (`core`) and never does more than bookkeeping;
//! - a creation helper (`runtime`), single-threaded and short-lived, builds or tears down one container;
//! - the engine daemon (`daemon`, `api`) serves the Docker Engine API and writes logs, and may die at any time.
//!
//! `protocol` is what they say to each other.

pub mod api;
pub mod archive;
pub mod client;
pub mod core;
pub mod daemon;
mod durable;
pub mod error;
pub mod id;
pub mod image;
pub mod logs;
mod network;
pub mod paths;
pub mod protocol;
pub mod runtime;
pub mod spec;
pub mod sys;
pub mod time;
mod volume;
