//! What stands on the kernel's command line: it becomes a layer that resolves.

use corral_config::{Layer, cmdline, resolve};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = cmdline::hidden_words(text);
    let layer = Layer::from_command_line(text);
    let _ = resolve(&[corral_config::defaults(), layer]);
}
