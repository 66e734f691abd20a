//! Writes the serial console of a User-Mode Linux machine to a file. A separate process writes it.
//! That process keeps running if its machine is kept.

use crate::process::{KillOnDrop, tied_unless_kept, wait};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long to wait for the last bytes of a machine that has exited.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Ends when this is dropped, or with the machine.
#[derive(Debug)]
pub(crate) struct ConsoleLog {
    writer: KillOnDrop,
}

impl ConsoleLog {
    /// Begins with an empty file.
    pub(crate) fn start(line: UnixStream, file: &Path) -> Result<ConsoleLog> {
        let writer = tied_unless_kept(Path::new("cat"))
            .stdin(OwnedFd::from(line))
            .stdout(File::create(file)?)
            .spawn()
            .context("starting cat by setpriv (util-linux)")?;
        Ok(ConsoleLog { writer: KillOnDrop(writer) })
    }

    /// Waits until the file has all the console output of a machine that has exited, and whose line
    /// is closed.
    pub(crate) fn finish(&mut self) {
        // A writer that keeps running after the timeout has written all output so far.
        let _ = wait(&mut self.writer.0, TIMEOUT);
    }
}
