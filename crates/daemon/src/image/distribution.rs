//! What a registry has under a name, without pulling it: the descriptor and the platforms.

use super::manifest::parse_manifest;
use super::manifest_request::get_manifest;
use super::pull::LARGEST_CONFIG;
use super::registry::{Account, Endpoint, Settings, explain};
use anyhow::{Context, Result, bail, ensure};
use corral_engine::error::EngineError;
use corral_engine::image::digest::digest;
use corral_engine::image::reference;
use futures_util::StreamExt;
use serde_json::{Value, json};

/// As `GET /distribution/{name}/json` shows it, from the first registry that has the name.
pub(crate) async fn inspect(
    name: &str,
    settings: &Settings,
    account: Option<&Account>,
) -> Result<Value, EngineError> {
    let reference = reference::parse(name)?;
    let mut last = EngineError::NoSuchImage(name.to_owned());
    for endpoint in settings.endpoints(&reference, account)? {
        match described(&endpoint).await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn described(endpoint: &Endpoint) -> Result<Value, EngineError> {
    endpoint.authorize().await?;
    let (raw, digest) = get_manifest(endpoint, &endpoint.reference).await?;
    let manifest: Value = serde_json::from_slice(&raw).context("the manifest")?;
    let platforms = match manifest["manifests"].as_array() {
        Some(entries) => entries.iter().map(|entry| platform(&entry["platform"])).collect(),
        None => vec![platform(&configuration(endpoint, &raw).await?)],
    };
    Ok(json!({
        "Descriptor": {
            "mediaType": media_type(&manifest), "digest": digest, "size": raw.len(),
        },
        "Platforms": platforms,
    }))
}

/// Manifests may leave it out.
fn media_type(manifest: &Value) -> &str {
    let implied = match manifest["manifests"].is_array() {
        true => oci_client::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE,
        false => oci_client::manifest::OCI_IMAGE_MEDIA_TYPE,
    };
    manifest["mediaType"].as_str().unwrap_or(implied)
}

/// A platform of an index, or the configuration of an image, which has the same names.
fn platform(source: &Value) -> Value {
    let mut platform = json!({});
    for key in ["architecture", "os", "os.version", "variant"] {
        if let Some(text) = source[key].as_str() {
            platform[key] = json!(text);
        }
    }
    platform
}

/// The configuration that a manifest names.
async fn configuration(endpoint: &Endpoint, manifest: &[u8]) -> Result<Value, EngineError> {
    let descriptor = parse_manifest(manifest)?.config;
    let stream = endpoint.client.pull_blob_stream(&endpoint.reference, &descriptor).await;
    let mut stream = stream.map_err(|error| explain(endpoint, &error))?.stream;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.context("reading the image's configuration")?);
        if bytes.len() as u64 > LARGEST_CONFIG {
            return Err(EngineError::Failed("the image's configuration is too large".to_owned()));
        }
    }
    Ok(checked(&bytes, &descriptor.digest)?)
}

fn checked(bytes: &[u8], wanted: &str) -> Result<Value> {
    let found = digest(bytes);
    ensure!(found == wanted, "the configuration is {found}, but the manifest says {wanted}");
    let config: Value = serde_json::from_slice(bytes).context("the image's configuration")?;
    if !config.is_object() {
        bail!("the image's configuration is no object");
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_has_the_keys_of_its_configuration() {
        let config =
            json!({"os": "linux", "architecture": "arm64", "variant": "v8", "created": "x"});
        let expected = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
        assert_eq!(platform(&config), expected);
        assert_eq!(platform(&Value::Null), json!({}));
    }
}
