//! Whatever stands on the kernel's command line: it becomes a layer that resolves.

#![no_main]

use corral_config::{Layer, cmdline, resolve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = cmdline::hidden_words(text);
    let layer = Layer::from_command_line(text);
    let _ = resolve(&[corral_config::defaults(), layer]);
});
