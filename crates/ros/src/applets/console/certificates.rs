//! `ca_certs` in the console: the bundle that its programs and dockerd read. The resolver has made
//! it from that of the image and the owner's certificates.

use anyhow::{Context, Result};
use corral_engine::paths;
use corral_machine::files::write_atomic;
use std::fs;
use std::path::Path;

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The console's own bundle, while ours is in its place.
const ORIGINAL: &str = "/etc/ssl/certs/.ca-certificates.crt.original";

/// Puts the bundle in its place, or the console's own one back.
pub(super) fn apply() -> Result<()> {
    let (bundle, original) = (Path::new(BUNDLE), Path::new(ORIGINAL));
    match fs::read(paths::CERTIFICATES) {
        Ok(text) => {
            if !original.exists() && bundle.exists() {
                fs::copy(bundle, original).with_context(|| format!("copying {BUNDLE}"))?;
            }
            write_atomic(bundle, &text, 0o644)
        }
        Err(_) if original.exists() => {
            fs::rename(original, bundle).with_context(|| format!("restoring {BUNDLE}"))
        }
        Err(_) => Ok(()),
    }
}
