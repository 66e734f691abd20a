//! The one client of an engine, the system's or the user's: Docker's API over HTTP on its socket.
//!
//! It blocks, for the rest of this program does. Every request has a deadline, and an error is the
//! engine's own message with its status, or names the engine that does not answer and what to do.
//! Paths have no version of the API: an engine then speaks its own. Docker's CLI is used only for
//! what it shows to the user (`cli.rs`).
//! <https://docs.docker.com/reference/api/engine/>

pub(crate) mod cli;
mod client;
mod engine;
mod error;
mod http;
mod images;
mod lines;
mod model;
mod networks;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use client::Client;
pub(crate) use engine::Engine;
pub(crate) use model::{Container, Port, State};
