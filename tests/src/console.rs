//! What the serial console of a machine of User-Mode Linux shows, in a file. A process of its own writes it, and stays with
//! a machine that stays.

use crate::process::{tied_unless_kept, wait};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// For the last bytes of a machine that has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// It ends with this, or with the machine.
#[derive(Debug)]
pub(crate) struct ConsoleLog {
    writer: Child,
}

impl ConsoleLog {
    /// Begins with an empty file.
    pub(crate) fn start(line: UnixStream, file: &Path) -> Result<ConsoleLog> {
        let writer = tied_unless_kept(Path::new("cat"))
            .stdin(OwnedFd::from(line))
            .stdout(File::create(file)?)
            .spawn()
            .context("starting cat by setpriv (util-linux)")?;
        Ok(ConsoleLog { writer })
    }

    /// Waits until all that a machine showed is in the file. The machine has ended, and so has the line.
    pub(crate) fn finish(&mut self) {
        // One that goes on after all has written what there was by then.
        let _ = wait(&mut self.writer, PATIENCE);
    }
}

impl Drop for ConsoleLog {
    fn drop(&mut self) {
        let _ = self.writer.kill();
        let _ = self.writer.wait();
    }
}
