//! `ros preload-images`, in system containers when there is something to load: the archives of an
//! engine (`resolve::preload`), by Docker's own client.

use super::wait_for_docker;
use crate::resolve::preload::{Engine, stamp};
use anyhow::{Context, Result, bail};
use corral_engine::paths;
use corral_machine::console::say;
use corral_machine::files::write_atomic;
use std::path::Path;
use std::process::{Command, Stdio};

/// Loads what is there; what cannot be loaded is told, and tried again at the next start.
pub(crate) fn run(engine: Engine) -> Result<()> {
    if engine == Engine::Docker {
        wait_for_docker::run()?;
    }
    let archives = engine.waiting();
    let mut failures = 0;
    for archive in &archives {
        if let Err(error) = load(engine, archive) {
            failures += 1;
            say(&format!("preload: {}: {error:#}", archive.display()));
        }
    }
    if failures == 0 { Ok(()) } else { bail!("{failures} of {} archives were not loaded", archives.len()) }
}

fn load(engine: Engine, archive: &Path) -> Result<()> {
    let output = Command::new("/usr/bin/docker")
        .args(["--host", &socket(engine), "load", "--input"])
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("starting docker")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "));
    }
    print!("{}: {}", archive.display(), String::from_utf8_lossy(&output.stdout));
    write_atomic(&stamp(archive), b"", 0o644)
}

fn socket(engine: Engine) -> String {
    match engine {
        Engine::SystemDocker => format!("unix://{}", paths::API_SOCKET),
        Engine::Docker => "unix:///var/run/docker.sock".to_owned(),
    }
}
