//! Images that a release has apart from the system image: replacement engines, the headers of its
//! kernel. They are in the registry with the releases, beside those, and signed by the same key.

use super::{KEYS, load_keys, signature_of};
use crate::manifest::is_signed;
use crate::registries;
use anyhow::{Context, Result, ensure};
use corral_daemon::image::artifact::Artifact;
use semver::Version;
use serde_json::Value;
use std::path::Path;

/// Annotations: the name of an image, because one key signs several; and its version.
const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";

/// An image that a key which this system trusts has signed.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// By its digest: `host/corral-engine@sha256:…`
    pub image: String,
    /// Empty if it has none.
    pub version: String,
}

impl Signed {
    /// One whose version is not known is not older.
    pub fn is_older_than(&self, version: &str) -> bool {
        match (Version::parse(&self.version), Version::parse(version)) {
            (Ok(own), Ok(other)) => own.cmp_precedence(&other).is_lt(),
            _ => false,
        }
    }
}

/// Finds an image of this name and title that a release has.
pub fn find_signed(name: &str, title: &str) -> Result<Signed> {
    let artifact =
        Artifact::find(name, &registries::load()).with_context(|| format!("looking for {name}"))?;
    let keys = load_keys(Path::new(KEYS))?;
    let version = signature_of(&artifact)
        .and_then(|signature| check(&artifact.manifest, signature.as_deref(), title, &keys))
        .with_context(|| format!("{name} was not pulled"))?;
    Ok(Signed { image: format!("{}@{}", repository(name), artifact.digest), version })
}

/// Returns the version of an image that is as it must be.
fn check(
    manifest: &[u8],
    signature: Option<&str>,
    title: &str,
    keys: &[Vec<u8>],
) -> Result<String> {
    let signature = signature.context("the image has no signature")?;
    ensure!(
        is_signed(manifest, signature, keys)?,
        "the signature of the image is by none of the {} keys that this system trusts",
        keys.len()
    );
    let value: Value = serde_json::from_slice(manifest).context("reading its manifest")?;
    let annotation = |name| value["annotations"][name].as_str().unwrap_or_default();
    let found = annotation(TITLE);
    ensure!(found == title, "the image is {found:?}, and not {title:?}");
    Ok(annotation(VERSION).to_owned())
}

/// An image without its tag and digest: `host:5000/corral:1.2` → `host:5000/corral`.
pub(crate) fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    #[test]
    fn only_a_signed_image_of_that_title_is_taken() {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let keys = [pair.public_key().as_ref().to_vec()];
        let manifest = br#"{"annotations": {"org.opencontainers.image.title": "podman",
            "org.opencontainers.image.version": "5.4"}}"#;
        let good = hex::encode(pair.sign(manifest));
        let other = hex::encode(pair.sign(b"other"));
        assert_eq!(check(manifest, Some(&good), "podman", &keys).unwrap(), "5.4");
        for (signature, title, keys, expected) in [
            (None, "podman", &keys[..], "has no signature"),
            (Some(other.as_str()), "podman", &keys[..], "by none of the 1 keys"),
            (Some(good.as_str()), "podman", &[][..], "by none of the 0 keys"),
            (Some("?"), "podman", &keys[..], "not hexadecimal"),
            (Some(good.as_str()), "docker-28.5", &keys[..], "is \"podman\", and not"),
        ] {
            let error = check(manifest, signature, title, keys).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_image_is_older_by_its_version() {
        for (own, other, expected) in [
            ("28.5.1", "28.5.2", true),
            ("28.5.2", "28.5.2", false),
            ("28.10.0", "28.5.2", false),
            ("", "28.5.2", false),
            ("28.5.1", "", false),
        ] {
            let signed = Signed { image: String::new(), version: own.to_owned() };
            assert_eq!(signed.is_older_than(other), expected, "{own} {other}");
        }
    }

    #[test]
    fn the_repository_of_an_image_has_no_tag() {
        for (image, expected) in [
            ("host/corral:1.2", "host/corral"),
            ("host:5000/corral:1.2", "host:5000/corral"),
            ("host:5000/corral", "host:5000/corral"),
            ("host:5000/team/corral@sha256:00", "host:5000/team/corral"),
            ("corral:1.2@sha256:00", "corral"),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }
}
