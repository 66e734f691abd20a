//! A release of the system: boot files, named by their digests in a signed manifest. `source` finds
//! a release; `copy` writes it to a boot partition.

pub(crate) mod boot_set;
pub(crate) mod copy;
pub(crate) mod source;

use anyhow::{Context, Result, bail};
use corral_machine::boot_partition::FILES;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Public keys, in hexadecimal. This system accepts releases that they signed.
const KEYS: &str = "/usr/share/ros/release-keys";
const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";

/// A blob of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// `sha256:…`
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// The content of a manifest.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) version: String,
    /// `vmlinuz`, `initrd`, `system.erofs`.
    pub(crate) files: Vec<Part>,
    /// The list of packages and sizes.
    pub(crate) contents: Part,
    /// The signed bytes.
    pub(crate) manifest: Vec<u8>,
    /// In hexadecimal; empty if there is none.
    pub(crate) signature: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Release {
    /// Parses a manifest. It is not trusted yet: see `check_signature`.
    pub(crate) fn parse(manifest: Vec<u8>, signature: String) -> Result<Release> {
        let parsed: Manifest =
            serde_json::from_slice(&manifest).context("this is no release: reading its manifest")?;
        let version = parsed.annotations.get(VERSION).cloned().unwrap_or_default();
        if !is_version(&version) {
            bail!("this is no release: {version:?} is not a version");
        }
        let mut files = Vec::new();
        for name in FILES {
            let found = parsed
                .layers
                .iter()
                .find(|layer| layer.annotations.get(TITLE).is_some_and(|title| title == name));
            let layer = found.with_context(|| format!("this is no release: it has no {name}"))?;
            files.push(layer.part(name)?);
        }
        let contents = parsed.config.part("contents.json")?;
        Ok(Release { version, files, contents, manifest, signature })
    }

    /// Checks that one of this system's release keys signed it.
    pub(crate) fn check_signature(&self) -> Result<()> {
        check_signature(&self.manifest, &self.signature, &load_keys(Path::new(KEYS))?)
    }

    /// All parts to fetch.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.files.iter().chain([&self.contents])
    }

    /// Bytes of everything on the boot partition.
    pub(crate) fn size(&self) -> u64 {
        self.parts().map(|part| part.size).sum::<u64>() + self.manifest.len() as u64
    }
}

/// Checks the signature; with `--insecure` a bad one is only a loud warning.
pub(crate) fn trust(release: &Release, insecure: bool) -> Result<()> {
    match release.check_signature() {
        Err(error) if insecure => {
            println!("WARNING: {error:#}");
            println!("WARNING: nobody vouches for this release; it is taken because of --insecure");
            Ok(())
        }
        checked => checked,
    }
}

impl Descriptor {
    fn part(&self, name: &str) -> Result<Part> {
        let hex = self.digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("this is no release: {:?} of {name} is not a digest that can be checked", self.digest);
        }
        Ok(Part { name: name.to_owned(), digest: self.digest.clone(), size: self.size })
    }
}

/// Accepts names that are safe for a folder and a menu entry, because they come from outside.
fn is_version(text: &str) -> bool {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b".-+~".contains(&letter);
    (1..=40).contains(&text.len())
        && text.bytes().all(good)
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text != "syslinux"
}

fn load_keys(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let items = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let texts = items.flatten().filter_map(|item| fs::read_to_string(item.path()).ok());
    Ok(texts.filter_map(|text| hex::decode(text.trim()).ok()).collect())
}

fn check_signature(manifest: &[u8], signature: &str, keys: &[Vec<u8>]) -> Result<()> {
    if signature.trim().is_empty() {
        bail!("this release is not signed; --insecure takes it all the same");
    }
    let signature = hex::decode(signature.trim()).ok().context("the signature is not hexadecimal")?;
    let is_good = |key: &Vec<u8>| UnparsedPublicKey::new(&ED25519, key).verify(manifest, &signature).is_ok();
    if keys.iter().any(is_good) {
        return Ok(());
    }
    bail!(
        "the signature is by none of the {} keys that this system trusts; --insecure takes the release all the same",
        keys.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn manifest(version: &str, digest: &str) -> Vec<u8> {
        let layer =
            |name: &str| serde_json::json!({"digest": digest, "size": 5, "annotations": {TITLE: name}});
        let layers: Vec<_> = FILES.iter().map(|name| layer(name)).collect();
        serde_json::json!({
            "config": {"digest": digest, "size": 2}, "layers": layers, "annotations": {VERSION: version},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_manifest_names_files_by_digests() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let release = Release::parse(manifest("1.2.3-rc1", &digest), String::new()).unwrap();
        assert_eq!((release.version.as_str(), release.files.len()), ("1.2.3-rc1", 3));
        for (version, digest) in [
            ("../../etc", digest.as_str()),
            ("", &digest),
            ("syslinux", &digest),
            ("1", "md5:abc"),
            ("1", "sha256:../../etc/passwd"),
        ] {
            assert!(Release::parse(manifest(version, digest), String::new()).is_err(), "{version} {digest}");
        }
        assert!(Release::parse(b"{}".to_vec(), String::new()).is_err());
    }

    #[test]
    fn only_known_keys_sign() {
        let pair = |_| {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
        };
        let [ours, theirs] = [0, 1].map(pair);
        let keys = vec![ours.public_key().as_ref().to_vec()];
        let text = b"a manifest";
        check_signature(text, &hex::encode(ours.sign(text)), &keys).unwrap();
        for (bytes, signature) in [
            (&text[..], hex::encode(theirs.sign(text))),
            (&b"another"[..], hex::encode(ours.sign(text))),
            (&text[..], String::new()),
            (&text[..], "zz".to_owned()),
        ] {
            assert!(check_signature(bytes, &signature, &keys).is_err(), "{signature}");
        }
    }
}
