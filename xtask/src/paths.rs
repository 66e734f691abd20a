//! Paths in the checkout and below `target/`.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `target/image`: the results of a build.
pub(crate) fn image() -> PathBuf {
    target().join("image")
}

/// `target/corral`: files that are recreated when they are missing, with three exceptions. Without
/// `release-key`, installed machines accept no upgrade from this working copy. `run/state.img` is
/// the disk of `cargo xtask run --disk`. `fuzz` has the corpus and the findings of fuzzing.
pub(crate) fn cache(name: &str) -> PathBuf {
    target().join("corral").join(name)
}

/// `$XDG_CACHE_HOME/corral/NAME`: files that are slow to make or to fetch, for all checkouts of
/// this machine. A file is named by the hash of its inputs or by its version. Only `stories.json`
/// is not: it records how long stories took here. Safe to delete when no xtask runs.
pub(crate) fn shared_cache(name: &str) -> PathBuf {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    base.map_or_else(|| cache("shared"), |base| base.join("corral")).join(name)
}

/// Names cargo's target folder, if it is not the default one.
pub(crate) const TARGET_VARIABLE: &str = "CARGO_TARGET_DIR";

/// Cargo's target folder, absolute: programs that we start run in other folders.
pub(crate) fn target() -> PathBuf {
    let named =
        std::env::var_os(TARGET_VARIABLE).and_then(|folder| std::path::absolute(folder).ok());
    named.unwrap_or_else(|| root().join("target"))
}
