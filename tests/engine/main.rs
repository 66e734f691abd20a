//! The system engine, alone on this build machine, with clients of other projects: the docker CLI
//! and docker compose of Debian trixie, docker-py, bollard, docker-registry.

mod cli;
mod compose;
mod docker_api;
mod docker_py;
mod images;
mod limits;
mod network;
mod pid_1;
mod sdk;

use anyhow::Result;
use vmtest::sandbox::Sandbox;

/// An engine with an empty store but for the image `busybox`.
fn sandbox(name: &str) -> Result<Sandbox> {
    Sandbox::start(name, program())
}

/// The program that makes the namespaces.
fn program() -> &'static str {
    env!("CARGO_BIN_EXE_engine-sandbox")
}
