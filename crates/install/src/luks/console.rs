//! A question on all consoles at once, during the boot. The first answer ends the question on all
//! of them. Input is not echoed.

use super::secret::Secret;
use crate::terminals::consoles;
use anyhow::{Context, Result};
use corral_machine::deadline;
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

/// A terminal without echo, as long as this exists.
#[derive(Debug)]
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn open(path: &Path) -> Result<Quiet> {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOCTTY.bits().cast_signed());
        let terminal = options.open(path).with_context(|| format!("opening {}", path.display()))?;
        let before =
            tcgetattr(&terminal).with_context(|| format!("{} is no terminal", path.display()))?;
        let mut quiet = before.clone();
        quiet.local_modes |= LocalModes::ICANON;
        quiet.local_modes &= !LocalModes::ECHO;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { terminal, before })
    }

    fn prompt(&mut self, question: &str) -> Result<()> {
        self.terminal.write_all(question.as_bytes()).context("asking")
    }

    /// A line, without its line end.
    fn answer(&mut self) -> Result<Secret> {
        let mut line = [0_u8; 4096];
        let length = self.terminal.read(&mut line).context("reading the answer")?;
        let _ = self.terminal.write_all(b"\r\n");
        Secret::new(line[..length].trim_ascii_end())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Asks on all consoles. None if no user answers in time.
pub(super) fn prompt(question: &str, deadline: Instant) -> Result<Option<Secret>> {
    let mut terminals: Vec<Quiet> = consoles()
        .iter()
        .filter_map(|name| Quiet::open(&Path::new("/dev").join(name)).ok())
        .collect();
    for terminal in &mut terminals {
        let _ = terminal.prompt(&format!("\r\n{question}"));
    }
    while !terminals.is_empty() {
        let mut watched: Vec<PollFd<'_>> =
            terminals.iter().map(|quiet| PollFd::new(&quiet.terminal, PollFlags::IN)).collect();
        if !deadline::poll(&mut watched, deadline)? {
            return Ok(None);
        }
        let ready = watched.iter().position(|terminal| !terminal.revents().is_empty());
        let Some(ready) = ready else { continue };
        match watched[ready].revents().contains(PollFlags::IN) {
            true => return terminals.remove(ready).answer().map(Some),
            // A serial line without a user.
            false => drop(terminals.remove(ready)),
        }
    }
    Ok(None)
}

/// Asks on the controlling terminal of this command.
pub(crate) fn prompt_here(question: &str) -> Result<Secret> {
    let mut terminal =
        Quiet::open(Path::new("/dev/tty")).context("a secret is read from a terminal only")?;
    terminal.prompt(question)?;
    terminal.answer()
}

/// Prints a line on all consoles.
pub(super) fn log(line: &str) -> Result<()> {
    for name in consoles() {
        let mut terminal = File::options().write(true).open(Path::new("/dev").join(name))?;
        terminal.write_all(format!("\r\n{line}\r\n").as_bytes())?;
    }
    Ok(())
}
