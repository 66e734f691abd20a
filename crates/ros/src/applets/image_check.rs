//! `ros image-check`, in a container of an image that is to replace one of ours: checks for the
//! files and users that it must have. Only an image that passed becomes the console or the engine.

use anyhow::{Context, Result, bail};
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_resolve::replacement::GOOD;
use corral_resolve::switchable::SWITCHABLE;
use std::fs;
use std::path::Path;

/// Checks the image, prints what is missing, and marks a good one.
pub(crate) fn run(service: &str, mark: &str) -> Result<()> {
    if mark.is_empty() {
        // The image was only just fetched. The configuration is read again, and then names the mark
        // of this very image.
        return Ok(());
    }
    let row = SWITCHABLE.iter().find(|switchable| switchable.service == service);
    let switchable =
        row.with_context(|| format!("{service} is not a service that can be replaced"))?;
    let is_there = |places: &&&[&str]| places.iter().any(|place| Path::new(place).exists());
    let required = switchable.required.iter();
    let mut missing: Vec<String> =
        required.filter(|places| !is_there(places)).map(|places| places.join(" or ")).collect();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let users =
        switchable.users.iter().filter(|user| !passwd.lines().any(|line| line.starts_with(**user)));
    missing.extend(users.map(|user| format!("{user} in /etc/passwd")));
    if missing.is_empty() {
        return write_atomic(&Path::new(GOOD).join(mark), b"", 0o600);
    }
    let text =
        format!("the replacement image of {service} has no {}: not used", missing.join(", no "));
    log(&text);
    bail!("{text}")
}
