//! `keyboard` of the configuration: the keymap of the machine's own terminals. A serial console has
//! no keymap: the keyboard is that of another machine.

use anyhow::{Context, Result, bail};
use corral_config::model::Keyboard;
use corral_machine::program;
use std::path::Path;
use std::process::Command;

const LOADER: &str = "/usr/bin/loadkeys";
const TERMINAL: &str = "/dev/tty1";

/// Loads the keymap of the layout, for all terminals.
pub(super) fn load(keyboard: &Keyboard) -> Result<()> {
    if keyboard.layout.is_empty() || !Path::new(TERMINAL).exists() {
        return Ok(());
    }
    let map = Keyboard::map(&keyboard.layout, &keyboard.variant)
        .with_context(|| format!("there is no keymap for {:?}", keyboard.layout))?;
    if !Path::new(LOADER).exists() {
        bail!("this console has no {LOADER}; its own configuration decides the keymap");
    }
    let mut command = Command::new(LOADER);
    program::run(command.args(["-q", "-u", "-C", TERMINAL, map])).map(drop)
}
