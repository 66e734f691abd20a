//! The bundle of authorities that the console's programs and dockerd read. For `ca_certs` the
//! resolver has made one from that of the image and the owner's certificates. A stock image may
//! have none at all: it gets that of the system.

use anyhow::{Context, Result};
use corral_engine::paths;
use corral_machine::files::write_atomic;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The console's own bundle, while ours is in its place.
const ORIGINAL: &str = "/etc/ssl/certs/.ca-certificates.crt.original";
/// Where other distributions have theirs: Fedora and its kin, Alpine.
const OF_OTHERS: [&str; 2] = ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

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
        Err(_) if !bundle.exists() && !OF_OTHERS.iter().any(|path| Path::new(path).exists()) => {
            link_to_systems(bundle)
        }
        Err(_) => Ok(()),
    }
}

/// A link, so that an upgrade of the system renews it. A package of the distribution replaces it.
fn link_to_systems(bundle: &Path) -> Result<()> {
    let _ = fs::remove_file(bundle);
    if let Some(folder) = bundle.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    symlink(paths::CERTIFICATES_OF_IMAGE, bundle).with_context(|| format!("linking {BUNDLE}"))
}
