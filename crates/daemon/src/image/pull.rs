//! Images from a registry. Layers come in parallel and resume where they were cut off. They are
//! accepted only when their digests are right.

use super::download::{self, Download};
use super::layer;
use super::manifest::{Named, parse_diff_ids, parse_manifest, parse_named};
use super::manifest_request::get_manifest;
use super::progress::Progress;
use super::registry::{Account, Endpoint, Settings};
use super::store::{Store, incoming};
use crate::blocking::blocking;
use corral_engine::error::EngineError;
use corral_engine::image::digest::{self, short};
use corral_engine::image::layout::{self, Layer, StoredImage};
use corral_engine::image::reference;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// Layers at a time, as Docker does.
const AT_ONCE: usize = 3;
pub(super) const LARGEST_CONFIG: u64 = 8 << 20;

/// What is to be pulled, and how.
#[derive(Debug)]
pub struct PullRequest {
    pub name: String,
    pub settings: Settings,
    pub account: Option<Account>,
    /// `linux/amd64`.
    pub platform: String,
}

/// A manifest as a registry gave it.
struct RemoteManifest {
    endpoint: Arc<Endpoint>,
    manifest: OciImageManifest,
    raw: Vec<u8>,
    /// Digest of what the name stands for: of the index, if there is one.
    digest: String,
}

impl Store {
    /// Pulls an image; its id comes back.
    pub async fn pull(
        self: &Arc<Store>,
        wanted: PullRequest,
        progress: Progress,
    ) -> Result<String, EngineError> {
        let target = reference::parse(&wanted.name)?;
        let short = reference::familiar(&wanted.name)?;
        let mut last = EngineError::NoSuchImage(wanted.name.clone());
        let mut found = None;
        for endpoint in wanted.settings.endpoints(&target, wanted.account.as_ref())? {
            match find(endpoint, &wanted.platform).await {
                Ok(manifest) => {
                    found = Some(manifest);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Some(found) = found else { return Err(last) };
        let tag = short.rsplit_once([':', '@']).map_or("latest", |(_, tag)| tag).to_owned();
        progress.step(&tag, &format!("Pulling from {}", target.repository())).await;
        let by_digest = format!("{}@{}", reference::name(&target), found.digest);
        let names: Vec<String> =
            Some(short.clone()).filter(|name| !name.contains('@')).into_iter().collect();
        let known = layout::References::load();
        let (kept, found_digest) = (self.fetch(&found, &progress).await?, found.digest);
        let is_new =
            known.names.get(&short).or_else(|| known.digests.get(&short)) != Some(&kept.id);
        let (store, id) = (Arc::clone(self), kept.id.clone());
        blocking(move || Ok(store.commit(&kept, &names, &[by_digest])?)).await?;
        progress.send(json!({"status": format!("Digest: {found_digest}")})).await;
        let change = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        progress.send(json!({"status": format!("Status: {change} {short}")})).await;
        Ok(id)
    }

    /// Fetches all that a manifest names.
    async fn fetch(
        self: &Arc<Store>,
        found: &RemoteManifest,
        progress: &Progress,
    ) -> Result<StoredImage, EngineError> {
        let config = self.fetch_config(found).await?;
        let diff_ids =
            parse_diff_ids(&config, &found.manifest).map_err(from_registry(&found.endpoint))?;
        let layers = &found.manifest.layers;
        for each in layers {
            progress.step(short(&each.digest), "Pulling fs layer").await;
        }
        let parts: Vec<(String, Part)> = diff_ids
            .into_iter()
            .zip(layers)
            .map(|(diff_id, layer)| (diff_id, self.part(found, layer, progress)))
            .collect();
        let work =
            parts.into_iter().map(|(diff_id, part)| async move { part.take(&diff_id).await });
        let layers: Vec<Layer> = stream::iter(work).buffered(AT_ONCE).try_collect().await?;
        let raw = found.raw.clone();
        let id = found.manifest.config.digest.clone();
        blocking(move || {
            let manifest = Store::put_blob(&raw)?;
            let size = layer::unpacked_size(&layers);
            Ok(StoredImage { id, manifest, layers, size })
        })
        .await
    }

    fn part(
        self: &Arc<Store>,
        found: &RemoteManifest,
        descriptor: &OciDescriptor,
        progress: &Progress,
    ) -> Part {
        Part {
            store: Arc::clone(self),
            endpoint: Arc::clone(&found.endpoint),
            progress: progress.clone(),
            descriptor: descriptor.clone(),
        }
    }

    async fn fetch_config(
        self: &Arc<Store>,
        found: &RemoteManifest,
    ) -> Result<Vec<u8>, EngineError> {
        let descriptor = &found.manifest.config;
        if u64::try_from(descriptor.size).unwrap_or(u64::MAX) > LARGEST_CONFIG {
            return Err(EngineError::Failed(format!(
                "the image's configuration is too large: {} bytes",
                descriptor.size
            )));
        }
        let path = self.part(found, descriptor, &Progress::silent()).download().await?;
        blocking(move || {
            fs::read(&path).map_err(|error| {
                EngineError::Failed(format!("reading {}: {error}", path.display()))
            })
        })
        .await
    }
}

/// An error in the answer of a registry, with its name.
fn from_registry(endpoint: &Endpoint) -> impl Fn(anyhow::Error) -> EngineError {
    let host = endpoint.host.clone();
    move |error| EngineError::Failed(format!("{host}: {error:#}"))
}

/// The manifest for our platform.
async fn find(endpoint: Endpoint, platform: &str) -> Result<RemoteManifest, EngineError> {
    endpoint.authorize().await?;
    let (raw, named) = get_manifest(&endpoint, &endpoint.reference).await?;
    let raw = match parse_named(&raw, platform).map_err(from_registry(&endpoint))? {
        Named::Manifest => raw,
        Named::Index(digest) => {
            let exact = endpoint.reference.clone_with_digest(digest);
            get_manifest(&endpoint, &exact).await?.0
        }
        Named::Missing => {
            let name = reference::name(&endpoint.reference);
            return Err(EngineError::NoSuchImage(format!("{name}: no image for {platform}")));
        }
    };
    let manifest = parse_manifest(&raw).map_err(from_registry(&endpoint))?;
    Ok(RemoteManifest { endpoint: Arc::new(endpoint), manifest, raw, digest: named })
}

/// A blob to be fetched.
struct Part {
    store: Arc<Store>,
    endpoint: Arc<Endpoint>,
    progress: Progress,
    descriptor: OciDescriptor,
}

impl Part {
    /// Downloads and unpacks a layer.
    async fn take(&self, diff_id: &str) -> Result<Layer, EngineError> {
        let id = short(&self.descriptor.digest);
        let known =
            layout::layer(diff_id).exists() && layout::blob(&self.descriptor.digest).exists();
        if known {
            self.progress.step(id, "Already exists").await;
        } else {
            let blob = self.download().await?;
            self.progress.step(id, "Extracting").await;
            let _only = self.store.lock(diff_id).await;
            let name = diff_id.to_owned();
            let refused = blocking(move || Ok(layer::unpack(&blob, &name)?)).await?;
            for entry in refused {
                self.progress.step(id, &format!("skipped {entry}")).await;
            }
            self.progress.step(id, "Pull complete").await;
        }
        Ok(Layer {
            diff_id: diff_id.to_owned(),
            digest: self.descriptor.digest.clone(),
            size: u64::try_from(self.descriptor.size).unwrap_or(0),
            media_type: self.descriptor.media_type.clone(),
        })
    }

    /// Puts the blob into the store; its file comes back.
    async fn download(&self) -> Result<PathBuf, EngineError> {
        let digest = &self.descriptor.digest;
        download::check(digest, &self.endpoint.host)?;
        let target = layout::blob(digest);
        let _only = self.store.lock(digest).await;
        if target.exists() {
            return Ok(target);
        }
        let partial = incoming(&format!("{}.partial", digest::hex(digest)));
        let from = Download {
            endpoint: Arc::clone(&self.endpoint),
            progress: self.progress.clone(),
            descriptor: self.descriptor.clone(),
        };
        from.download_to(&partial, &target).await?;
        Ok(target)
    }
}
