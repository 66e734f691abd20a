//! The kernel's command line, as text. `corral_config::cmdline` reads the configuration that is in
//! it.

use anyhow::{Context, Result};

/// Reads /proc/cmdline.
pub fn load() -> Result<String> {
    std::fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")
}

/// The value of `name=value`; the last one takes effect.
pub fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .next_back()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_last_value_wins_and_names_match_exactly() {
        let line = "corral.boot=a quiet corral.boot=UUID=B-1 corral.booted=c";
        assert_eq!(super::value(line, "corral.boot"), Some("UUID=B-1"));
        assert_eq!(super::value(line, "quiet"), None);
    }
}
