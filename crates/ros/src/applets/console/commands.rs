//! The owner's commands and scripts.

use anyhow::{Context, Result, bail};
use corral_config::model;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The owner's command that runs now, while Docker waits for it. The file is gone when they are
/// done.
pub(crate) const RUNNING: &str = "/run/corral/owners-command";

/// Notes it for `ros why`.
fn note(command: &str) {
    if let Err(error) = fs::write(RUNNING, format!("{command}\n")) {
        println!("writing {RUNNING}: {error}");
    }
}

/// Scripts from user data, in their order.
pub(super) fn user_data_scripts(conf: &Path) -> Vec<PathBuf> {
    let more = fs::read_dir(conf.join("cloud-config-script.d")).into_iter().flatten().flatten();
    let mut scripts: Vec<PathBuf> = more.map(|item| item.path()).collect();
    scripts.sort();
    scripts.insert(0, conf.join("cloud-config-script"));
    scripts
}

/// The command of `runcmd` or `bootcmd`; None if there is nothing in it.
pub(crate) fn prepare(item: &model::Command) -> Option<Command> {
    let mut command = match item {
        model::Command::Shell(text) if text.trim().is_empty() => return None,
        model::Command::Shell(text) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(text);
            command
        }
        model::Command::Words(words) => {
            let (program, rest) = words.split_first()?;
            let mut command = Command::new(program);
            command.args(rest);
            command
        }
    };
    command.stdin(Stdio::null());
    Some(command)
}

/// Runs commands one after the other, with this `PATH`; the first failure ends the sequence.
pub(super) fn run_all(commands: &[model::Command], path: &OsStr) -> Result<()> {
    for item in commands {
        let Some(mut command) = prepare(item) else { continue };
        note(&format!("runcmd: {}", shown(item)));
        let status =
            command.env("PATH", path).status().with_context(|| format!("starting {item:?}"))?;
        if !status.success() {
            bail!("{item:?}: {status}; the commands after it are not run");
        }
    }
    Ok(())
}

/// A command as its owner wrote it.
fn shown(item: &model::Command) -> String {
    match item {
        model::Command::Shell(text) => text.trim().replace('\n', "; "),
        model::Command::Words(words) => words.join(" "),
    }
}

/// Runs a script if it exists and is executable: directly if it begins with `#!`, else by the
/// shell.
pub(super) fn run_script(script: &Path, path: &OsStr) -> Result<()> {
    let Ok(data) = fs::metadata(script) else { return Ok(()) };
    if data.permissions().mode() & 0o111 == 0 {
        bail!("it is not executable, so it is not run");
    }
    note(&script.display().to_string());
    let direct = fs::read(script)?.starts_with(b"#!");
    let mut command = if direct { Command::new(script) } else { Command::new("/bin/sh") };
    if !direct {
        command.arg(script);
    }
    let status = command.env("PATH", path).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { bail!("{status}") }
}
