//! The consoles of the machine: where a person may sit while it boots.

use corral_config::cmdline;
use std::collections::BTreeSet;
use std::path::Path;

/// The consoles of the kernel that are there, by their names below /dev; the first screen always, if there is one.
pub(crate) fn consoles() -> Vec<String> {
    let line = corral_machine::cmdline::load().unwrap_or_default();
    let words = cmdline::words(&line);
    let named = cmdline::values(&words, "console").into_iter();
    let named = named.map(|console| console.split(',').next().unwrap_or_default().replace("tty0", "tty1"));
    let found: BTreeSet<String> =
        named.chain(["tty1".to_owned()]).filter(|name| Path::new("/dev").join(name).exists()).collect();
    found.into_iter().collect()
}
