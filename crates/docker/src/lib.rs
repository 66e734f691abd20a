//! The one client of an engine, the system's or the user's: Docker's API over HTTP on its socket.
//!
//! It blocks: commands and applets have no async runtime. Every request has a deadline, except for
//! a followed log. An error is the engine's own message with its status, or names the engine that
//! does not answer and what to do. Paths have no API version: an engine then uses its own.
//!
//! This crate starts Docker's CLI in two cases: to show the progress of a pull (`cli.rs`), and to
//! prove in a trial that the CLI works (`probe.rs`).
//! <https://docs.docker.com/reference/api/engine/>

pub mod cli;
mod client;
mod engine;
mod error;
mod http;
mod images;
mod lines;
mod model;
mod networks;
pub mod probe;
#[cfg(test)]
mod tests;
mod upload;
mod watch;

pub use client::{Client, LogRequest};
pub use engine::Engine;
pub use error::Error;
pub use model::{Container, Image, Port, State, Summary};
