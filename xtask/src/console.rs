//! The console of a User-Mode Linux machine in this terminal. All keys go to the machine, Ctrl-C
//! too. As in QEMU, Ctrl-A then X kills the machine, and Ctrl-A twice sends Ctrl-A.

use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vmtest::process::wait;

/// Between two checks of the keyboard.
const PAUSE: Duration = Duration::from_millis(100);
const CTRL_A: u8 = 1;
/// Waits until its input is closed, also by the exit of this process, and restores the terminal's
/// settings. It ignores the terminal's signals.
const RESTORE: &str = r#"trap "" HUP INT QUIT TERM TTOU; cat >/dev/null; exec stty "$0" </dev/tty"#;

/// The settings of this terminal. They are restored when this is dropped, and also if this process
/// is killed.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// None if there is no terminal.
    restorer: Option<Child>,
}

impl Terminal {
    /// Saves the settings.
    pub(crate) fn save() -> Result<Terminal> {
        if !std::io::stdin().is_terminal() {
            return Ok(Terminal { restorer: None });
        }
        let settings = stty(&["-g"])?;
        let mut restorer = Command::new("sh");
        restorer.args(["-c", RESTORE, settings.trim()]).stdin(Stdio::piped());
        Ok(Terminal { restorer: Some(restorer.spawn().context("starting sh")?) })
    }

    /// Every key goes to the machine at once.
    fn pass_all_keys(&self) -> Result<()> {
        if self.restorer.is_some() { stty(&["raw", "-echo"]).map(drop) } else { Ok(()) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut restorer) = self.restorer.take() {
            // The restorer waits for the end of this input.
            drop(restorer.stdin.take());
            let _ = restorer.wait();
        }
    }
}

fn stty(arguments: &[&str]) -> Result<String> {
    let output = Command::new("stty").args(arguments).stdin(Stdio::inherit()).output();
    let output = output.context("starting stty")?;
    ensure!(output.status.success(), "stty {}: {}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Connects the machine's first serial line with this terminal until the machine has ended.
pub(crate) fn attend(line: UnixStream, machine: &mut Child) -> Result<()> {
    let terminal = Terminal::save()?;
    terminal.pass_all_keys()?;
    let leave = Arc::new(AtomicBool::new(false));
    let (keyboard, left) = (line.try_clone()?, leave.clone());
    // The thread ends with this process: a read from a terminal cannot be interrupted.
    std::thread::spawn(move || pass_keys(keyboard, &left));
    let status = loop {
        if !show(&line)? {
            // The line is closed; the machine is about to exit.
            wait(machine, PAUSE)?;
        }
        if leave.load(Ordering::Relaxed) {
            machine.kill().context("killing the machine")?;
            machine.wait()?;
            return Ok(());
        }
        if let Some(status) = machine.try_wait()? {
            show(&line)?;
            break status;
        }
    };
    drop(terminal);
    ensure!(status.success(), "the machine ended: {status}");
    Ok(())
}

/// Shows the output that arrives within `PAUSE`; false if the line is closed.
fn show(mut line: &UnixStream) -> Result<bool> {
    let mut bytes = [0; 1 << 14];
    line.set_read_timeout(Some(PAUSE))?;
    match line.read(&mut bytes) {
        Ok(0) => return Ok(false),
        Ok(length) => {
            let mut screen = std::io::stdout().lock();
            screen
                .write_all(&bytes[..length])
                .and_then(|()| screen.flush())
                .context("showing the console")?;
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(error) => return Err(error).context("reading the console"),
    }
    Ok(true)
}

fn pass_keys(mut keyboard: UnixStream, leave: &AtomicBool) {
    let (mut bytes, mut keys) = ([0; 1 << 10], Keys::default());
    while let Ok(length @ 1..) = std::io::stdin().read(&mut bytes) {
        let Some(typed) = keys.pass(&bytes[..length]) else {
            leave.store(true, Ordering::Relaxed);
            return;
        };
        if keyboard.write_all(&typed).is_err() {
            return;
        }
    }
}

/// The state of the keyboard: was Ctrl-A the last key?
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    /// The keys that the machine gets; none if they end it.
    fn pass(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::new();
        for key in typed {
            match (std::mem::take(&mut self.escaped), *key) {
                (true, b'x' | b'X') => return None,
                (true, CTRL_A) => passed.push(CTRL_A),
                (true, other) => passed.extend([CTRL_A, other]),
                (false, CTRL_A) => self.escaped = true,
                (false, other) => passed.push(other),
            }
        }
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn ctrl_a_then_x_leaves_and_all_else_is_the_machines() {
        let mut keys = Keys::default();
        assert_eq!(keys.pass(b"ls\x03x").as_deref(), Some(&b"ls\x03x"[..]));
        assert_eq!(keys.pass(b"\x01").as_deref(), Some(&b""[..]), "it may be the first of two");
        assert_eq!(keys.pass(b"\x01x\x01b").as_deref(), Some(&b"\x01x\x01b"[..]));
        assert_eq!(keys.pass(b"more\x01"), Some(b"more".to_vec()));
        assert_eq!(keys.pass(b"x"), None);
    }
}
