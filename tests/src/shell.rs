//! A shell in the machine: the OpenSSH client with a key made for the story.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The longest that any command may take.
const TIMEOUT: Duration = Duration::from_secs(600);
const HANG_UP: Duration = Duration::from_secs(20);
/// The exit status of timeout(1) for a command that took longer.
const TIMED_OUT: i32 = 124;

/// Makes a key pair in `folder`; returns the public key.
pub fn make_key(folder: &Path) -> Result<String> {
    let key = folder.join("key");
    if !key.exists() {
        let output = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "story", "-f"])
            .arg(&key)
            .output()?;
        if !output.status.success() {
            bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(fs::read_to_string(key.with_extension("pub"))?.trim().to_owned())
}

/// How to log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The folder with the key.
    pub folder: PathBuf,
    pub port: u16,
    pub user: String,
}

impl Login {
    /// The ssh client, up to the name of the machine, with a timeout. One connection serves all
    /// commands.
    fn command(&self, timeout: Duration) -> Command {
        let mut command = limited("ssh", timeout);
        command
            // No settings and no other keys of the developer.
            .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "LogLevel=ERROR"])
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ControlMaster=auto"])
            .arg("-o")
            .arg(format!(
                "ControlPath={}",
                self.folder.join(format!("ssh-{}.sock", self.user)).display()
            ))
            // Without this, ssh waits for minutes on a connection to a machine that has restarted.
            .args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"])
            .args(["-o", "ControlPersist=60", "-p", &self.port.to_string(), "-i"])
            .arg(self.folder.join("key"))
            .arg(format!("{}@127.0.0.1", self.user));
        command
    }

    /// Runs a script with the machine's shell; an error unless its exit status is 0. Returns its
    /// output.
    pub fn run(&self, script: &str) -> Result<String> {
        self.run_within(TIMEOUT, script)
    }

    /// The same with another timeout.
    pub fn run_within(&self, timeout: Duration, script: &str) -> Result<String> {
        let mut command = self.command(timeout);
        let output = command.arg(script).stdin(Stdio::null()).output().context("starting ssh")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() == Some(TIMED_OUT) {
            bail!("{script}\nit took longer than {} s: {text}", timeout.as_secs());
        }
        if !output.status.success() {
            bail!("{script}\n{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(text.trim_end().to_owned())
    }

    /// Closes the connection that serves all commands.
    pub fn hang_up(&self) {
        let _ = self.command(HANG_UP).args(["-O", "exit"]).stderr(Stdio::null()).status();
    }

    /// The authentication methods that the server offers to a user.
    pub fn methods(&self, user: &str) -> Result<String> {
        let output = limited("ssh", TIMEOUT)
            .args([
                "-F",
                "none",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "PreferredAuthentications=none", "-o", "ConnectTimeout=20"])
            .args(["-p", &self.port.to_string(), &format!("{user}@127.0.0.1"), "true"])
            .stdin(Stdio::null())
            .output()
            .context("starting ssh")?;
        let message = String::from_utf8_lossy(&output.stderr);
        let methods =
            message.split_once("Permission denied (").and_then(|(_, rest)| rest.split_once(')'));
        Ok(methods.with_context(|| format!("no methods are offered: {message}"))?.0.to_owned())
    }

    /// Runs a script on a terminal, and answers each prompt once it is shown. Returns the output.
    pub fn answer(&self, script: &str, answers: &[(&str, &str)]) -> Result<String> {
        let mut command = self.command(TIMEOUT);
        command.args(["-tt", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting ssh")?;
        let (Some(mut keyboard), Some(mut screen)) = (child.stdin.take(), child.stdout.take())
        else {
            bail!("ssh has no streams");
        };
        let (mut text, mut answers) = (String::new(), answers.iter());
        let (mut next, mut seen) = (answers.next(), 0);
        let mut bytes = [0_u8; 4096];
        loop {
            let length = screen.read(&mut bytes)?;
            if length == 0 {
                break;
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..length]));
            if let Some((question, answer)) =
                next.filter(|(question, _)| text[seen..].contains(question))
            {
                seen = text.find(question).unwrap_or(seen) + question.len();
                keyboard.write_all(format!("{answer}\n").as_bytes())?;
                next = answers.next();
            }
        }
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "{script}\n{status}: {text}");
        Ok(text)
    }
}

/// A program with a timeout by timeout(1); in the foreground, so that Ctrl-C in a terminal reaches
/// it.
fn limited(program: &str, timeout: Duration) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--kill-after=5", &timeout.as_secs().to_string(), program]);
    command
}
