//! `ros recovery`, in the recovery container: a root shell on every console. When a user leaves any
//! of them, the boot continues. If the owner set `rancher.password`, the login needs it.

use super::console::accounts::chpasswd_arguments;
use anyhow::{Context, Result};
use corral_install::terminals::consoles;
use corral_machine::os_release::running_version;
use corral_machine::program;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Exists once a user has logged in.
const ENTERED: &str = "/tmp/entered";
/// Exists if a password is required.
const LOCKED: &str = "/tmp/locked";
const SHELL: &str = "/usr/bin/recovery-shell";
const LOGIN: &str = "/usr/bin/recovery-login";

/// Offers shells until a user has left one.
pub(crate) fn run() -> Result<()> {
    let password = std::env::var("RECOVERY_PASSWORD").unwrap_or_default();
    if !password.is_empty() {
        set_password(&password)?;
        fs::write(LOCKED, "")?;
    }
    for link in [SHELL, LOGIN] {
        let _ = std::os::unix::fs::symlink("ros", link);
    }
    let terminals = consoles();
    let mut shells: Vec<(Child, OwnedFd, &str)> = Vec::new();
    for terminal in &terminals {
        shells.push(start(terminal)?);
    }
    loop {
        let mut watched: Vec<PollFd<'_>> =
            shells.iter().map(|(_, handle, _)| PollFd::new(handle, PollFlags::IN)).collect();
        poll(&mut watched, None)?;
        let ended = watched.iter().position(|shell| !shell.revents().is_empty());
        let Some(ended) = ended else { continue };
        if Path::new(ENTERED).exists() {
            return Ok(());
        }
        // A login that failed.
        let (mut child, _, terminal) = shells.remove(ended);
        let _ = child.wait();
        shells.push(start(terminal)?);
    }
}

fn start(terminal: &str) -> Result<(Child, OwnedFd, &str)> {
    let kind = if terminal.starts_with("ttyS") { "vt100" } else { "linux" };
    let child = Command::new("/usr/sbin/getty")
        .args(["-n", "-l", LOGIN, "-L", "115200", terminal, kind])
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting a shell on {terminal}"))?;
    let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    Ok((child, handle, terminal))
}

/// What getty runs: login if there is a password, else the shell.
pub(crate) fn log_in() -> Result<()> {
    println!("\r\nRecovery console of Corral v{}\r", running_version());
    let error = if Path::new(LOCKED).exists() {
        Command::new("/usr/bin/login").arg("root").exec()
    } else {
        Command::new(SHELL).exec()
    };
    Err(error).context("starting a shell")
}

/// The root shell of this container.
pub(crate) fn shell() -> Result<()> {
    fs::write(ENTERED, "")?;
    println!(
        "No disk was changed. `exit` continues the boot; `udhcpc -i eth0` requests an address.\r"
    );
    let error = Command::new("/bin/bash")
        .args(["--noprofile", "--norc", "-i"])
        .current_dir("/root")
        .env("HOME", "/root")
        .env("PS1", r"[Recovery console \u@\h:\W]# ")
        .exec();
    Err(error).context("starting bash")
}

/// Root has a password in this container only, and login starts our shell.
fn set_password(password: &str) -> Result<()> {
    let table = fs::read_to_string("/etc/passwd")?;
    let line = |line: &str| match line.strip_prefix("root:") {
        Some(_) => format!("root:x:0:0:root:/root:{SHELL}\n"),
        None => format!("{line}\n"),
    };
    fs::write("/etc/passwd", table.lines().map(line).collect::<String>())?;
    let mut chpasswd = Command::new("/usr/sbin/chpasswd");
    let line = format!("root:{password}\n");
    program::feed(chpasswd.args(chpasswd_arguments(password)), line.as_bytes()).map(drop)
}
