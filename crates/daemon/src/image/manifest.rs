//! How a registry describes an image: an index of manifests, a manifest, a configuration. Only the
//! texts are read here; what they name is fetched by `pull`.

use anyhow::{Context, Result, bail};
use corral_engine::image::digest;
use oci_client::manifest::{OciImageIndex, OciImageManifest};
use serde_json::Value;

/// What the name of an image stands for in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A manifest.
    Manifest,
    /// An index; this is the digest of the manifest for the platform.
    Index(String),
    /// An index without a manifest for the platform.
    Missing,
}

/// Is a document a manifest, or an index of several? The platform is written `linux/amd64`.
pub fn parse_named(raw: &[u8], platform: &str) -> Result<Named> {
    let value: Value = serde_json::from_slice(raw).context("reading the manifest")?;
    if !value["manifests"].is_array() {
        return Ok(Named::Manifest);
    }
    let index: OciImageIndex =
        serde_json::from_value(value).context("reading the index of manifests")?;
    let (os, architecture) = platform.split_once('/').unwrap_or(("linux", "amd64"));
    let entry = index.manifests.into_iter().find(|entry| {
        entry.platform.as_ref().is_some_and(|platform| {
            platform.os.to_string() == os && platform.architecture.to_string() == architecture
        })
    });
    Ok(entry.map_or(Named::Missing, |entry| Named::Index(entry.digest)))
}

/// Reads a manifest.
pub fn parse_manifest(raw: &[u8]) -> Result<OciImageManifest> {
    serde_json::from_slice(raw).context("reading the manifest")
}

/// The digests of the unpacked layers, as the configuration of an image names them: one for each
/// layer of its manifest, and each fit to be the name of a folder.
pub fn parse_diff_ids(config: &[u8], manifest: &OciImageManifest) -> Result<Vec<String>> {
    let config: Value =
        serde_json::from_slice(config).context("reading the image's configuration")?;
    let named = &config["rootfs"]["diff_ids"];
    if named.is_null() {
        bail!("this is not a container image: its configuration names no layers");
    }
    let diff_ids: Vec<String> = serde_json::from_value(named.clone()).unwrap_or_default();
    let layers = manifest.layers.len();
    if diff_ids.len() != layers || !diff_ids.iter().all(|id| digest::is_digest(id)) {
        bail!(
            "the image's configuration names {} layers and its manifest {layers}",
            diff_ids.len()
        );
    }
    Ok(diff_ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn the_manifest_of_the_platform_is_chosen() {
        let entry = |architecture: &str, digest: String| {
            json!({"mediaType": "m", "size": 1, "digest": digest,
                "platform": {"os": "linux", "architecture": architecture}})
        };
        let manifests = [entry("arm64", digest("a")), entry("amd64", digest("b"))];
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        let raw = index.to_string().into_bytes();
        assert_eq!(parse_named(&raw, "linux/amd64").unwrap(), Named::Index(digest("b")));
        assert_eq!(parse_named(&raw, "linux/riscv64").unwrap(), Named::Missing);
        assert_eq!(parse_named(b"{\"layers\": []}", "linux/amd64").unwrap(), Named::Manifest);
        assert!(parse_named(b"<html>", "linux/amd64").is_err());
    }

    #[test]
    fn a_configuration_names_one_digest_for_each_layer() {
        let descriptor = json!({"mediaType": "m", "size": 1, "digest": digest("a")});
        let manifest = json!({"schemaVersion": 2, "config": descriptor, "layers": [descriptor]});
        let manifest = parse_manifest(manifest.to_string().as_bytes()).unwrap();
        let read = |diff_ids: Value| {
            parse_diff_ids(
                json!({"rootfs": {"diff_ids": diff_ids}}).to_string().as_bytes(),
                &manifest,
            )
        };
        assert_eq!(read(json!([digest("c")])).unwrap(), [digest("c")]);
        for wrong in
            [json!([]), json!(["../up"]), json!([digest("c"), digest("d")]), json!({}), Value::Null]
        {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
