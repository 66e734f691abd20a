//! `ros image-check`, in a container of an image that is to replace one of ours. An engine's image
//! must have its program; in a console's, a login is tried. Only an image that passed becomes the
//! console or the engine.

use super::console::{accounts, host_keys, other_image, sshd, trial};
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_resolve::replacement::GOOD;
use corral_resolve::switchable::{CONSOLE, SWITCHABLE, Switchable};
use std::path::Path;

/// Checks the image, prints what is wrong, and marks a good one.
pub(crate) fn run(service: &str, mark: &str) -> Result<()> {
    if mark.is_empty() {
        // The image was only just fetched. The configuration is read again, and then names the mark
        // of this very image.
        return Ok(());
    }
    let row = SWITCHABLE.iter().find(|switchable| switchable.service == service);
    let switchable =
        row.with_context(|| format!("{service} is not a service that can be replaced"))?;
    let result = has_files(switchable)
        .and_then(|()| if service == CONSOLE.service { try_console() } else { Ok(()) });
    let Err(error) = result else {
        return write_atomic(&Path::new(GOOD).join(mark), b"", 0o600);
    };
    let text = format!("the replacement image of {service} is not used: {error:#}");
    log(&text);
    bail!("{text}")
}

fn has_files(switchable: &Switchable) -> Result<()> {
    let is_there = |places: &&&[&str]| places.iter().any(|place| Path::new(place).exists());
    let missing = switchable.required.iter().find(|places| !is_there(places));
    match missing {
        Some(places) => bail!("it has no {}", places.join(" or ")),
        None => Ok(()),
    }
}

/// The steps of the console's own start that a login depends on, and a login.
fn try_console() -> Result<()> {
    let config = Config::default();
    other_image::check()?;
    other_image::prepare().context("making its accounts")?;
    accounts::make_homes()?;
    accounts::admit_ours()?;
    std::fs::create_dir_all("/run/sshd").context("making /run/sshd")?;
    host_keys::make_host_keys(&config)?;
    sshd::write(&config)?;
    trial::log_in(&config)
}
