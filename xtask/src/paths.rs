//! Where things are in the checkout and below `target/`.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `target/image`: what a build hands over.
pub(crate) fn image() -> PathBuf {
    target().join("image")
}

/// `target/corral`: what is made again when it is missing. But for two: `release-key`, without which installed machines
/// take no upgrade from this working copy, and `run/state.img`, the disk of `cargo xtask run --disk`.
pub(crate) fn cache(name: &str) -> PathBuf {
    target().join("corral").join(name)
}

/// `$XDG_CACHE_HOME/corral/NAME`: what is slow to make or to fetch, for all checkouts of this machine.
/// It is found by the hash of what it is made of, or by its version, but for `stories.json`: how long
/// stories took here. Safe to delete when no xtask runs.
pub(crate) fn shared_cache(name: &str) -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    base.map_or_else(|| cache("shared"), |base| base.join("corral")).join(name)
}

/// Names cargo's target folder, where it is not the usual one.
pub(crate) const TARGET_VARIABLE: &str = "CARGO_TARGET_DIR";

/// Cargo's target folder, absolute: what we start runs in other folders than this process.
pub(crate) fn target() -> PathBuf {
    let named = std::env::var_os(TARGET_VARIABLE).and_then(|folder| std::path::absolute(folder).ok());
    named.unwrap_or_else(|| root().join("target"))
}
