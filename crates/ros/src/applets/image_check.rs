//! `ros image-check`, in a container of an image that is to replace one of ours: it looks for what that must have. Only
//! what passed becomes the console or the engine.

use crate::resolve::switchable::GOOD;
use anyhow::{Result, bail};
use corral_machine::console::say;
use corral_machine::files::write_atomic;
use std::fs;
use std::path::Path;

/// Each line is one thing, at any of its places.
const CONSOLE: [&[&str]; 5] = [
    &["/usr/sbin/sshd"],
    &["/usr/bin/ssh-keygen"],
    &["/bin/sh"],
    &["/usr/sbin/getty", "/sbin/getty", "/sbin/agetty"],
    &["/usr/sbin/chpasswd"],
];
const ENGINE: [&[&str]; 1] = [&["/engine/dockerd"]];
/// Everybody logs in as one of these.
const USERS: [&str; 2] = ["rancher:x:1100:", "docker:x:1101:"];

/// Looks, says what is missing, and marks what is good.
pub(crate) fn run(service: &str, mark: &str) -> Result<()> {
    if mark.is_empty() {
        // The image has only just been fetched. The configuration is read again, and names the mark of this very image.
        return Ok(());
    }
    let wanted: &[&[&str]] = if service == "console" { &CONSOLE } else { &ENGINE };
    let is_there = |places: &&&[&str]| places.iter().any(|place| Path::new(place).exists());
    let mut missing: Vec<String> =
        wanted.iter().filter(|places| !is_there(places)).map(|places| places.join(" or ")).collect();
    if service == "console" {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let users = USERS.iter().filter(|user| !passwd.lines().any(|line| line.starts_with(**user)));
        missing.extend(users.map(|user| format!("{user} in /etc/passwd")));
    }
    if missing.is_empty() {
        return write_atomic(&Path::new(GOOD).join(mark), b"", 0o600);
    }
    let text = format!("the image of another {service} has no {}: it is not used", missing.join(", no "));
    say(&text);
    bail!("{text}")
}
