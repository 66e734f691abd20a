//! `autologin`: what getty runs on a terminal that `rancher.autologin` names.

use super::banner;
use anyhow::{Context, Result};
use corral_machine::os_release::running_version;
use corral_machine::program;
use std::os::unix::process::CommandExt;

/// Prints version, host name, addresses and host keys of this machine, then executes login.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let kernel = rustix::system::uname();
    println!(
        "\r\nCorral v{} on {}, Linux {}\r",
        running_version(),
        kernel.nodename().to_string_lossy(),
        kernel.release().to_string_lossy()
    );
    for line in banner::shown_without_getty().lines() {
        println!("{line}\r");
    }
    let error = program::of_system("/usr/bin/login").args(["-f", "rancher"]).exec();
    Err(error).context("starting login")
}
