//! `ros preload-images`, in system containers if there is something to load: the archives of an
//! engine (`corral_resolve::preload`). It runs Docker's own client, which streams an archive of any
//! size. What the client prints of each image goes to the log.

use super::wait_for_docker;
use anyhow::{Result, bail};
use corral_docker::Engine;
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_machine::program;
use corral_resolve::preload::{stamp, waiting};
use corral_resolve::root::Root;
use std::path::Path;
use std::process::Command;

/// Loads the archives. A failure is reported, and tried again at the next start.
pub(crate) fn run(engine: Engine) -> Result<()> {
    if engine == Engine::User {
        wait_for_docker::run()?;
    }
    let archives = waiting(engine, &Root::machine());
    let mut failures = 0;
    for archive in &archives {
        if let Err(error) = load(engine, archive) {
            failures += 1;
            log(&format!("preload: {}: {error:#}", archive.display()));
        }
    }
    if failures == 0 {
        Ok(())
    } else {
        bail!("{failures} of {} archives were not loaded", archives.len())
    }
}

fn load(engine: Engine, archive: &Path) -> Result<()> {
    let mut client = Command::new("/usr/bin/docker");
    client.args(["--host", &format!("unix://{}", engine.socket()), "load", "--input"]).arg(archive);
    print!("{}: {}", archive.display(), program::run(&mut client)?);
    write_atomic(&stamp(archive), b"", 0o644)
}
