//! `autologin`: what getty runs on a terminal that `rancher.autologin` names.

use super::netconf::addresses::FOLDER;
use anyhow::{Context, Result};
use corral_machine::os_release::running_version;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Prints version, host name and addresses of this machine, then executes login.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let kernel = rustix::system::uname();
    println!(
        "\r\nCorral v{} on {}, Linux {}\r",
        running_version(),
        kernel.nodename().to_string_lossy(),
        kernel.release().to_string_lossy()
    );
    for line in addresses() {
        println!("{line}\r");
    }
    let error = Command::new("/usr/bin/login").args(["-f", "rancher"]).exec();
    Err(error).context("starting login")
}

/// `eth0: 10.0.2.15/24`, one line an interface, as the network container found them.
fn addresses() -> Vec<String> {
    let Ok(items) = fs::read_dir(FOLDER) else { return Vec::new() };
    let line = |item: fs::DirEntry| {
        let address = fs::read_to_string(item.path()).ok()?;
        Some(format!("{}: {}", item.file_name().to_string_lossy(), address.trim()))
    };
    let mut lines: Vec<String> = items.flatten().filter_map(line).collect();
    lines.sort();
    lines
}
