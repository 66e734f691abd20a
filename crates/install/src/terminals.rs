//! The consoles of the machine, which a user may use during the boot.

use corral_config::cmdline;
use std::collections::BTreeSet;
use std::path::Path;

/// The kernel's consoles that exist, by their names below /dev. The first screen is always
/// included, if there is one.
pub fn consoles() -> Vec<String> {
    let line = corral_machine::cmdline::load().unwrap_or_default();
    let words = cmdline::words(&line);
    let named = cmdline::values(&words, "console").into_iter();
    let named =
        named.map(|console| console.split(',').next().unwrap_or_default().replace("tty0", "tty1"));
    let found: BTreeSet<String> = named
        .chain(["tty1".to_owned()])
        .filter(|name| Path::new("/dev").join(name).exists())
        .collect();
    found.into_iter().collect()
}
