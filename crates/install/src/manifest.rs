//! A release of the system as its manifest describes it, and the signature over that. The text
//! comes from files and from registries: nothing of it is believed before `check_signature`.

use anyhow::{Context, Result, bail};
use corral_machine::boot_partition::FILES;
use corral_machine::drivers;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const SIGNATURE: &str = "dev.corral.signature";
/// What a release declares, in words with blanks between them.
const SUPPORTS: &str = "dev.corral.supports";
/// On a disk of RancherOS its engine has a folder beside that of System Docker. A release without
/// this word may remove the containers of System Docker.
const ENGINE_BESIDE: &str = "engine-beside-system-docker";
/// The list of packages is read into memory.
const LARGEST_CONTENTS: u64 = 16 << 20;

/// A blob of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    /// `sha256:…`
    pub digest: String,
    pub size: u64,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub version: String,
    /// `vmlinuz`, `initrd`, `system.erofs`.
    pub files: Vec<Part>,
    /// `drivers.erofs` and `drivers.initrd`; none in a release without them, and none if they are
    /// not wanted here.
    pub drivers: Vec<Part>,
    /// The list of packages and weights.
    pub contents: Part,
    /// Does it leave System Docker of RancherOS alone?
    pub keeps_system_docker: bool,
    /// As it was signed.
    pub manifest: Vec<u8>,
    /// In hexadecimal; empty if there is none.
    pub signature: String,
}

/// What the index of an OCI image layout with a release in it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The digest of the release's manifest.
    pub manifest: String,
    /// That of the manifest with the signature, if there is one.
    pub signature: Option<String>,
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
    /// Reads a manifest.
    pub fn parse(manifest: Vec<u8>, signature: String) -> Result<Release> {
        let parsed: Manifest = serde_json::from_slice(&manifest)
            .context("this is not a release: reading its manifest")?;
        let version = parsed.annotations.get(VERSION).cloned().unwrap_or_default();
        if !is_version(&version) {
            bail!("this is not a release: {version:?} is not a version");
        }
        let find = |name: &str| {
            let is_it = |layer: &&Descriptor| {
                layer.annotations.get(TITLE).is_some_and(|title| title == name)
            };
            parsed.layers.iter().find(is_it)
        };
        let mut files = Vec::new();
        for name in FILES {
            let layer =
                find(name).with_context(|| format!("this is not a release: it has no {name}"))?;
            files.push(layer.part(name)?);
        }
        let drivers = drivers::FILES.map(|name| find(name).map(|layer| layer.part(name)));
        // One without the other is of no use.
        let drivers = match drivers {
            [Some(image), Some(initrd)] => vec![image?, initrd?],
            _ => Vec::new(),
        };
        let contents = parsed.config.part("contents.json")?;
        if contents.size > LARGEST_CONTENTS {
            bail!("this is not a release: its contents.json has {} bytes", contents.size);
        }
        let supports = parsed.annotations.get(SUPPORTS).map_or("", String::as_str);
        let keeps_system_docker = supports.split(' ').any(|word| word == ENGINE_BESIDE);
        Ok(Release { version, files, drivers, contents, keeps_system_docker, manifest, signature })
    }

    /// Everything that is to be fetched.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.files.iter().chain(&self.drivers).chain([&self.contents])
    }

    /// Bytes of the second tier of drivers.
    pub(crate) fn size_of_drivers(&self) -> u64 {
        self.drivers.iter().map(|part| part.size).fold(0, u64::saturating_add)
    }

    /// Bytes of all that goes onto the boot partition.
    pub fn size(&self) -> u64 {
        let parts = self.parts().map(|part| part.size);
        parts.fold(self.manifest.len() as u64, u64::saturating_add)
    }
}

impl Descriptor {
    fn part(&self, name: &str) -> Result<Part> {
        let hex = self.digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!(
                "this is not a release: {:?} of {name} is not a digest that can be checked",
                self.digest
            );
        }
        Ok(Part { name: name.to_owned(), digest: self.digest.clone(), size: self.size })
    }
}

/// What may be the name of a folder and of a menu entry: it comes from outside.
fn is_version(text: &str) -> bool {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b".-+~".contains(&letter);
    (1..=40).contains(&text.len())
        && text.bytes().all(good)
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text != "syslinux"
}

/// The first manifest of an index that is a release, and its signature.
pub fn parse_index(index: &[u8]) -> Result<Index> {
    let index: Value = serde_json::from_slice(index).context("reading index.json")?;
    let entries = index["manifests"].as_array().map_or(&[][..], Vec::as_slice);
    let name =
        |entry: &Value| entry["annotations"][REF_NAME].as_str().unwrap_or_default().to_owned();
    let found = entries.iter().find(|entry| !name(entry).ends_with(".sig"));
    let manifest =
        found.context("index.json does not name a release")?["digest"].as_str().unwrap_or_default();
    let tag = signature_tag(manifest);
    let signature = entries.iter().find(|entry| name(entry) == tag);
    let signature = signature.and_then(|entry| entry["digest"].as_str()).map(str::to_owned);
    Ok(Index { manifest: manifest.to_owned(), signature })
}

/// The tag of the manifest with the signature over that of this digest.
pub(crate) fn signature_tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// What the manifest of a signature says.
pub fn parse_signature(manifest: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(manifest).ok()?;
    value["annotations"][SIGNATURE].as_str().map(str::to_owned)
}

/// Is a manifest signed with one of these keys?
pub fn check_signature(manifest: &[u8], signature: &str, keys: &[Vec<u8>]) -> Result<()> {
    if signature.trim().is_empty() {
        bail!("this release is not signed; --insecure accepts it anyway");
    }
    if is_signed(manifest, signature, keys)? {
        return Ok(());
    }
    bail!(
        "the signature is by none of the {} keys that this system trusts; --insecure accepts the \
         release anyway",
        keys.len()
    )
}

/// Is the signature by one of these keys?
pub(crate) fn is_signed(manifest: &[u8], signature: &str, keys: &[Vec<u8>]) -> Result<bool> {
    let signature =
        hex::decode(signature.trim()).ok().context("the signature is not hexadecimal")?;
    let is_good =
        |key: &Vec<u8>| UnparsedPublicKey::new(&ED25519, key).verify(manifest, &signature).is_ok();
    Ok(keys.iter().any(is_good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn manifest(version: &str, digest: &str) -> Vec<u8> {
        let layer = |name: &str| {
            let annotations = serde_json::json!({TITLE: name});
            serde_json::json!({"digest": digest, "size": 5, "annotations": annotations})
        };
        let layers: Vec<_> = FILES.iter().map(|name| layer(name)).collect();
        serde_json::json!({
            "config": {"digest": digest, "size": 2},
            "layers": layers,
            "annotations": {VERSION: version},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_manifest_names_files_by_digests() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let release = Release::parse(manifest("1.2.3-rc1", &digest), String::new()).unwrap();
        assert_eq!((release.version.as_str(), release.files.len()), ("1.2.3-rc1", 3));
        assert_eq!((release.drivers.len(), release.parts().count()), (0, 4));
        for (version, digest) in [
            ("../../etc", digest.as_str()),
            ("", &digest),
            ("syslinux", &digest),
            ("1", "md5:abc"),
            ("1", "sha256:../../etc/passwd"),
        ] {
            assert!(
                Release::parse(manifest(version, digest), String::new()).is_err(),
                "{version} {digest}"
            );
        }
        assert!(Release::parse(b"{}".to_vec(), String::new()).is_err());
    }

    #[test]
    fn a_release_declares_that_it_leaves_system_docker_alone() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let mut value: Value = serde_json::from_slice(&manifest("1", &digest)).unwrap();
        for (declared, expected) in [
            (None, false),
            (Some(""), false),
            (Some("not-engine-beside-system-docker"), false),
            (Some("engine-beside-system-docker"), true),
            (Some("another engine-beside-system-docker"), true),
        ] {
            if let Some(words) = declared {
                value["annotations"][SUPPORTS] = words.into();
            }
            let release = Release::parse(value.to_string().into_bytes(), String::new()).unwrap();
            assert_eq!(release.keeps_system_docker, expected, "{declared:?}");
        }
    }

    #[test]
    fn drivers_are_optional_and_come_as_a_pair() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let mut value: Value = serde_json::from_slice(&manifest("1", &digest)).unwrap();
        for (name, count) in [("drivers.erofs", 0), ("drivers.initrd", 2), ("other", 2)] {
            let annotations = serde_json::json!({TITLE: name});
            let layer =
                serde_json::json!({"digest": digest, "size": 7, "annotations": annotations});
            value["layers"].as_array_mut().unwrap().push(layer);
            let release = Release::parse(value.to_string().into_bytes(), String::new()).unwrap();
            assert_eq!((release.files.len(), release.drivers.len()), (3, count), "{name}");
            let expected = release.manifest.len() as u64 + 17 + 7 * count as u64;
            assert_eq!(release.size(), expected, "{name}");
        }
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
            (&text[..], hex::encode(ours.sign(text))[1..].to_owned()),
            (&text[..], format!("+{}", &hex::encode(ours.sign(text))[1..])),
        ] {
            assert!(check_signature(bytes, &signature, &keys).is_err(), "{signature}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_added_are_the_largest() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = String::from_utf8(manifest("1", &digest)).unwrap();
        let large = text.replace("\"size\":5", &format!("\"size\":{}", u64::MAX / 2));
        let release = Release::parse(large.into_bytes(), String::new()).unwrap();
        assert_eq!(release.size(), u64::MAX);
    }

    #[test]
    fn an_index_names_a_release_and_its_signature() {
        let entry = |digest: &str, name: &str| {
            let annotations = serde_json::json!({REF_NAME: name});
            serde_json::json!({"digest": digest, "annotations": annotations})
        };
        let entries = [entry("sha256:b", "sha256-a.sig"), entry("sha256:a", "1.0")];
        let index = serde_json::json!({"manifests": entries}).to_string();
        let expected =
            Index { manifest: "sha256:a".to_owned(), signature: Some("sha256:b".to_owned()) };
        assert_eq!(parse_index(index.as_bytes()).unwrap(), expected);
        assert!(parse_index(b"{}").is_err() && parse_index(b"").is_err());
    }
}
