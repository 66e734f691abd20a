//! The stories: tests of complete machines, step by step. Each boots the image that
//! `cargo xtask image` made.
//!
//! `cargo xtask test` runs them, four at a time, at most two of them in QEMU.
//! `cargo xtask test --story login` runs one.

mod adopt;
mod catalogue;
mod cloud_config;
mod command_line;
mod commands;
mod config;
mod confirm;
mod consoles;
mod cron;
mod daily_work;
mod disk_faults;
mod disk_images;
mod docker_machine;
mod drivers;
mod encryption;
mod engine_switch;
mod engine_trial;
mod engines;
mod faults;
mod first_hour;
mod guests;
mod install;
mod kernel;
mod lockout;
mod login;
mod manual;
mod media;
mod network;
mod owners_commands;
mod pc;
mod pictures;
mod platforms;
mod power;
mod power_cuts;
mod preload;
mod replacement;
mod resilience;
mod second_boot;
mod services;
mod sources;
mod state;
mod system_engine;
mod tools;
mod upgrade;
mod vagrant;

use anyhow::Result;
use std::path::Path;
use vmtest::{Machine, Options, drive, shell};

/// Kernel parameters of a machine with an empty disk, which becomes its state.
const STATE: &str =
    "rancher.state.dev=LABEL=RANCHER_STATE rancher.state.autoformat=[/dev/vda,/dev/vdb]";

/// A machine with a config drive that lets the story log in, and that also holds `more`.
fn with_config(folder: &Path, more: &str, options: Options) -> Result<Machine> {
    let key = shell::make_key(folder)?;
    let text = format!("#cloud-config\nssh_authorized_keys:\n  - {key}\n{more}");
    let config_drive = Some(drive::make(folder, drive::Kind::ConfigDriveIso, text.as_bytes())?);
    Machine::start(folder, Options { config_drive, ..options })
}

/// Kernel parameters that let the story log in with any config drive, or with none.
fn key_on_command_line(folder: &Path) -> Result<String> {
    let key = shell::make_key(folder)?;
    Ok(format!("cc.ssh_authorized_keys=\"[{key}]\""))
}

/// `STATE`, and what lets the story log in without a config drive.
fn state_with_key(folder: &Path) -> Result<String> {
    Ok(format!("{STATE} {}", key_on_command_line(folder)?))
}

/// Each of these texts is in the output of a machine.
fn says_all(said: &str, texts: &[&str]) {
    for text in texts {
        assert!(said.contains(text), "{text} is not in:\n{said}");
    }
}
