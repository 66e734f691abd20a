//! A release: an OCI artifact whose layers are the files that boot, with an ed25519 signature over
//! its manifest. It is one file (an OCI image layout in a tar archive) for machines without a
//! network, and can be pushed to registries.
//!
//! The signature is a separate artifact, under the tag that registries use for signatures:
//! `sha256-<digest>.sig`.

use crate::drivers::Drivers;
use crate::oci_layout::{self, Layout, MANIFEST, REF_NAME};
use crate::{paths, progress, sum};
use anyhow::{Context, Result, anyhow, ensure};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const RELEASE: &str = "application/vnd.corral.release.v1";
const CONTENTS: &str = "application/vnd.corral.release.contents.v1+json";
const FILE: &str = "application/vnd.corral.release.file.v1";
const SIGNATURE: &str = "application/vnd.corral.signature.v1";
/// An object without members, where a manifest must have something.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The annotation with the signature, in hexadecimal.
const SIGNATURE_KEY: &str = "dev.corral.signature";

/// The suffix of its tag.
const SIGNATURE_SUFFIX: &str = ".sig";

/// What installers have to know of a release, in words (crates/install/src/manifest.rs).
const SUPPORTS: (&str, &str) = ("dev.corral.supports", "engine-beside-system-docker");

/// The files of a release.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) system: PathBuf,
    /// The second tier of drivers, if it was built.
    pub(crate) drivers: Option<Drivers>,
    /// What the release contains: `manifest.json` of the image.
    pub(crate) contents: PathBuf,
    /// Where manifest and signature are written.
    pub(crate) folder: PathBuf,
}

/// What signs releases.
#[derive(Debug)]
pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    /// Reads a key (PKCS#8), or the key of this working copy, which is created if there is none.
    pub(crate) fn load(file: Option<&Path>) -> Result<Key> {
        let own = paths::cache("release-key");
        if file.is_none() && !own.exists() {
            let document = Key::generate()?;
            fs::create_dir_all(paths::cache(""))?;
            let mut options = File::options();
            options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&own)?
                .write_all(document.as_ref())?;
        }
        let file = file.unwrap_or(&own);
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes).map_err(|error| {
            anyhow::anyhow!("{}: no ed25519 key in PKCS#8: {error}", file.display())
        })?;
        Ok(Key(pair))
    }

    /// A key that no image trusts.
    pub(crate) fn stranger() -> Result<Key> {
        let pair = Ed25519KeyPair::from_pkcs8(Key::generate()?.as_ref());
        Ok(Key(pair.map_err(|error| anyhow::anyhow!("a new key is no key: {error}"))?))
    }

    fn generate() -> Result<ring::pkcs8::Document> {
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| anyhow::anyhow!("no key could be made"))
    }

    /// The public half as the image carries it: hexadecimal.
    pub(crate) fn public(&self) -> String {
        hex::encode(self.public_bytes())
    }

    /// The public half: 32 bytes.
    pub(crate) fn public_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// A signature: 64 bytes.
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }

    fn sign(&self, bytes: &[u8]) -> String {
        hex::encode(self.sign_bytes(bytes))
    }
}

impl Release {
    /// Manifest, signature and contents, by their names on boot media.
    pub(crate) fn small_files(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("release.json", self.folder.join("release.json")),
            ("release.sig", self.folder.join("release.sig")),
            ("contents.json", self.contents.clone()),
        ]
    }

    /// The files that boot, by their names in a release.
    fn files(&self) -> Vec<(&'static str, &PathBuf)> {
        let mut files = vec![
            ("vmlinuz", &self.kernel),
            ("initrd", &self.initrd),
            ("system.erofs", &self.system),
        ];
        if let Some(Drivers { image, initrd }) = &self.drivers {
            files.extend([("drivers.erofs", image), ("drivers.initrd", initrd)]);
        }
        files
    }

    /// Writes `release.json` and `release.sig`.
    pub(crate) fn sign(&self, key: &Key) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(&self.manifest()?)?;
        fs::write(self.folder.join("release.json"), &bytes)?;
        fs::write(self.folder.join("release.sig"), key.sign(&bytes))?;
        Ok(())
    }

    /// Checks that this key signed these files.
    pub(crate) fn verify(&self, key: &Key) -> Result<()> {
        let bytes = fs::read(self.folder.join("release.json")).context("reading release.json")?;
        let signature = fs::read_to_string(self.folder.join("release.sig"));
        let signature = hex::decode(signature.context("reading release.sig")?.trim())
            .map_err(|error| anyhow!("release.sig is not hexadecimal: {error}"))?;
        ensure!(
            UnparsedPublicKey::new(&ED25519, key.public_bytes()).verify(&bytes, &signature).is_ok(),
            "release.sig is not a signature by this key: build the image again"
        );
        let signed: Value = serde_json::from_slice(&bytes).context("reading release.json")?;
        ensure!(
            signed == self.manifest()?,
            "the files in {} are not those that were signed: build the image again",
            self.folder.display()
        );
        Ok(())
    }

    /// `release.json`: what is signed.
    fn manifest(&self) -> Result<Value> {
        let layers = self.files().into_iter().map(|(name, path)| {
            let mut descriptor = oci_layout::descriptor_of_file(FILE, path)?;
            descriptor["annotations"] = json!({"org.opencontainers.image.title": name});
            Ok(descriptor)
        });
        Ok(json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": RELEASE,
            "config": oci_layout::descriptor_of_file(CONTENTS, &self.contents)?,
            "layers": layers.collect::<Result<Vec<Value>>>()?,
            "annotations": {
                "org.opencontainers.image.version": self.version,
                SUPPORTS.0: SUPPORTS.1,
            },
        }))
    }

    /// Writes the release as one file.
    pub(crate) fn archive(&self, output: &Path) -> Result<()> {
        progress::step(&format!("writing {}", output.display()), || {
            let manifest = fs::read(self.folder.join("release.json"))?;
            let signature = fs::read_to_string(self.folder.join("release.sig"))?;
            let mut layout = Layout::default();
            let files = self.files().into_iter().map(|(_, path)| path);
            for path in files.chain([&self.contents]) {
                layout.file(path)?;
            }
            let empty = layout.blob(EMPTY.0, EMPTY.1.to_vec());
            let signed = signature_manifest(&manifest, &signature, &empty);
            let tag = signature_tag(&manifest);
            layout.add_manifest(signed, json!({REF_NAME: tag}));
            layout.add_manifest(manifest, json!({REF_NAME: self.version}));
            layout.write(output)
        })
    }
}

/// Signs each image of a layout: its signature is a tag of the same repository.
pub(crate) fn sign_images(layout: &mut Layout, key: &Key) -> Result<()> {
    let empty = layout.blob(EMPTY.0, EMPTY.1.to_vec());
    let named = layout.named()?;
    for (name, manifest) in &named {
        let (repository, tag) =
            name.rsplit_once(':').with_context(|| format!("{name}: a name without a tag"))?;
        if tag.ends_with(SIGNATURE_SUFFIX) {
            continue;
        }
        let signature = format!("{repository}:{}", signature_tag(manifest));
        // A release has its own already.
        if !named.iter().any(|(name, _)| *name == signature) {
            let signed = signature_manifest(manifest, &key.sign(manifest), &empty);
            layout.add_manifest(signed, json!({REF_NAME: signature}));
        }
    }
    Ok(())
}

/// Writes an image archive as a release has it for registries, unless that is there: signed, in
/// this repository.
pub(crate) fn write_for_registry(archive: &Path, repository: &str) -> Result<()> {
    let output = archive.with_extension("registry.oci.tar");
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let (own, key) = (time(&output), paths::cache("release-key"));
    if own.is_some() && own > time(archive).max(time(&key)) {
        return Ok(());
    }
    let mut layout = Layout::default();
    layout.add_archive(archive, repository)?;
    sign_images(&mut layout, &Key::load(None)?)?;
    let fresh = output.with_extension("new");
    layout.write(&fresh)?;
    fs::rename(&fresh, &output).with_context(|| format!("writing {}", output.display()))
}

fn signature_tag(manifest: &[u8]) -> String {
    format!("sha256-{}{SIGNATURE_SUFFIX}", sum::digest_of_bytes(manifest))
}

fn signature_manifest(manifest: &[u8], signature: &str, empty: &Value) -> Vec<u8> {
    let value = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SIGNATURE,
        "config": empty,
        "layers": [empty],
        "subject": oci_layout::descriptor_of_bytes(MANIFEST, manifest),
        "annotations": {SIGNATURE_KEY: signature.trim()},
    });
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_and_another_file_are_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let release = Release {
            version: "1.2.3".to_owned(),
            kernel: file("vmlinuz"),
            initrd: file("initrd"),
            system: file("system.erofs"),
            drivers: Some(Drivers { image: file("drivers.erofs"), initrd: file("drivers.initrd") }),
            contents: file("contents.json"),
            folder: folder.path().to_path_buf(),
        };
        let key = Key::stranger().unwrap();
        release.sign(&key).unwrap();
        release.verify(&key).unwrap();
        let error = release.verify(&Key::stranger().unwrap()).unwrap_err().to_string();
        assert!(error.contains("by this key"), "{error}");
        let drivers = release.drivers.as_ref().unwrap();
        for changed in [&release.system, &drivers.image, &release.contents] {
            let old = fs::read(changed).unwrap();
            fs::write(changed, "other").unwrap();
            let error = release.verify(&key).unwrap_err().to_string();
            assert!(error.contains("not those that were signed"), "{error}");
            fs::write(changed, old).unwrap();
        }
        release.verify(&key).unwrap();
    }

    #[test]
    fn each_image_of_a_registry_is_signed_in_its_own_repository() {
        let mut layout = Layout::default();
        for name in ["corral:1", "corral:sha256-00.sig", "corral-engine:podman"] {
            layout.add_manifest(name.as_bytes().to_vec(), json!({REF_NAME: name}));
        }
        let key = Key::stranger().unwrap();
        sign_images(&mut layout, &key).unwrap();
        let named = layout.named().unwrap();
        assert_eq!(named.len(), 5);
        for image in ["corral:1", "corral-engine:podman"] {
            let repository = image.split(':').next().unwrap();
            let tag = format!("{repository}:{}", signature_tag(image.as_bytes()));
            let (_, manifest) = named.iter().find(|(name, _)| *name == tag).unwrap();
            let manifest: Value = serde_json::from_slice(manifest).unwrap();
            let signature = hex::decode(manifest["annotations"][SIGNATURE_KEY].as_str().unwrap());
            let public = UnparsedPublicKey::new(&ED25519, key.public_bytes());
            public.verify(image.as_bytes(), &signature.unwrap()).unwrap();
        }
    }
}
