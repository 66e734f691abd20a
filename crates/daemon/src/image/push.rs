//! Images to a registry.

use super::archive;
use super::progress::Progress;
use super::registry::{Account, Endpoint, Settings, explain};
use super::store::Store;
use crate::blocking::blocking;
use bytes::Bytes;
use corral_engine::error::EngineError;
use corral_engine::image::digest::hex;
use corral_engine::image::layout::{self, StoredImage};
use corral_engine::image::{lookup, reference};
use futures_util::{StreamExt, stream};
use oci_client::RegistryOperation;
use oci_client::errors::OciDistributionError;
use serde_json::json;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// Bytes that are sent at a time.
const CHUNK: usize = 4 << 20;

impl Store {
    /// Pushes an image under one of its names.
    pub async fn push(
        self: &Arc<Store>,
        name: &str,
        settings: &Settings,
        account: Option<&Account>,
        progress: Progress,
    ) -> Result<(), EngineError> {
        let target = reference::parse(name)?;
        let wanted = name.to_owned();
        let stored = blocking(move || {
            let image = lookup::find(&wanted)?;
            Ok(archive::into_store(&image)?)
        })
        .await?;
        let start = format!("The push refers to repository [{}]", reference::name(&target));
        progress.send(json!({"status": start})).await;
        let mut last = EngineError::Failed("no registry to push to".to_owned());
        for endpoint in settings.endpoints(&target, account)? {
            if endpoint.host != target.registry() {
                continue;
            }
            match push_to(&endpoint, &stored, &progress).await {
                Ok(()) => {
                    let tag = target.tag().unwrap_or("latest");
                    let pushed =
                        format!("{tag}: digest: {} size: {}", stored.manifest, stored.size);
                    progress.send(json!({"status": pushed})).await;
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn push_to(
    endpoint: &Endpoint,
    stored: &StoredImage,
    progress: &Progress,
) -> Result<(), EngineError> {
    let explained = |error: OciDistributionError| explain(endpoint, &error);
    let Endpoint { client, reference, auth, .. } = endpoint;
    client.auth(reference, auth, RegistryOperation::Push).await.map_err(explained)?;
    for layer in &stored.layers {
        push_blob(endpoint, &layer.digest, progress).await?;
    }
    push_blob(endpoint, &stored.id, &Progress::silent()).await?;
    let raw = tokio::fs::read(layout::blob(&stored.manifest))
        .await
        .map_err(|error| EngineError::Failed(format!("reading the manifest: {error}")))?;
    let manifest: oci_client::manifest::OciImageManifest = serde_json::from_slice(&raw)
        .map_err(|error| EngineError::Failed(format!("reading the manifest: {error}")))?;
    let media_type = manifest
        .media_type
        .unwrap_or_else(|| oci_client::manifest::OCI_IMAGE_MEDIA_TYPE.to_owned());
    let media_type = media_type
        .parse()
        .map_err(|_| EngineError::Failed("unknown media type of the manifest".to_owned()))?;
    client.push_manifest_raw(reference, raw, media_type).await.map_err(explained)?;
    Ok(())
}

async fn push_blob(
    endpoint: &Endpoint,
    digest: &str,
    progress: &Progress,
) -> Result<(), EngineError> {
    let explained = |error: OciDistributionError| explain(endpoint, &error);
    let id = hex(digest).get(..12).unwrap_or(digest);
    if endpoint.client.blob_exists(&endpoint.reference, digest).await.map_err(explained)? {
        progress.step(id, "Layer already exists").await;
        return Ok(());
    }
    progress.step(id, "Pushing").await;
    let file = tokio::fs::File::open(layout::blob(digest))
        .await
        .map_err(|error| EngineError::Failed(format!("reading {digest}: {error}")))?;
    let body = stream::unfold(file, |mut file| async move {
        let mut buffer = vec![0_u8; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match file.read(&mut buffer[filled..]).await {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return Some((Err(OciDistributionError::IoError(error)), file)),
            }
        }
        buffer.truncate(filled);
        (filled > 0).then(|| (Ok(Bytes::from(buffer)), file))
    });
    endpoint
        .client
        .push_blob_stream(&endpoint.reference, body.boxed(), digest, None)
        .await
        .map_err(explained)?;
    progress.step(id, "Pushed").await;
    Ok(())
}
