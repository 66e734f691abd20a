//! Images from a registry. Layers come in parallel, go on where they were cut off, and count only when their digests
//! are right.

use super::registry::{Account, Endpoint, Settings, explain};
use super::store::{self, Kept, Layer, Store, incoming};
use super::{digest, digest_text, layer, reference};
use crate::daemon::blocking;
use crate::durable;
use crate::error::EngineError;
use futures_util::StreamExt;
use futures_util::stream::{self, TryStreamExt};
use oci_client::client::BlobResponse;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageIndex, OciImageManifest,
};
use oci_client::{Reference, RegistryOperation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::Sender;

const ACCEPTED: [&str; 4] = [
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];
/// Layers at a time, as Docker does.
const AT_ONCE: usize = 3;
/// How often a download goes on after it was cut off.
const ATTEMPTS: u32 = 6;
const LARGEST_CONFIG: u64 = 8 << 20;
/// News of a download, in bytes.
const STEP: u64 = 512 * 1024;

/// Where progress goes: one JSON object of Docker's each. A client that hung up does not end the work.
#[derive(Debug, Clone)]
pub struct Progress(Option<Sender<Value>>);

impl Progress {
    /// To whoever listens.
    pub fn to(sender: Sender<Value>) -> Progress {
        Progress(Some(sender))
    }

    /// To nobody.
    pub fn silent() -> Progress {
        Progress(None)
    }

    pub(super) async fn say(&self, value: Value) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(value).await;
        }
    }

    pub(super) async fn step(&self, id: &str, status: &str) {
        self.say(json!({"status": status, "progressDetail": {}, "id": id})).await;
    }

    pub(super) async fn count(&self, id: &str, status: &str, (current, total): (u64, u64)) {
        let progress = format!("{:.1}MB/{:.1}MB", current as f64 / 1e6, total as f64 / 1e6);
        let detail = json!({"current": current, "total": total});
        self.say(json!({"status": status, "progressDetail": detail, "progress": progress, "id": id})).await;
    }
}

/// What is to be pulled, and how.
#[derive(Debug)]
pub struct Wanted {
    pub name: String,
    pub settings: Settings,
    pub account: Option<Account>,
    /// `linux/amd64`.
    pub platform: String,
}

/// A manifest as a registry gave it.
struct Found {
    endpoint: Arc<Endpoint>,
    manifest: OciImageManifest,
    raw: Vec<u8>,
    /// Digest of what the name stands for: of the index, if there is one.
    digest: String,
}

impl Store {
    /// Pulls an image; its id comes back.
    pub async fn pull(self: &Arc<Store>, wanted: Wanted, progress: Progress) -> Result<String, EngineError> {
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
        let names: Vec<String> = Some(short.clone()).filter(|name| !name.contains('@')).into_iter().collect();
        let known = store::References::load();
        let (kept, found_digest) = (self.fetch(&found, &progress).await?, found.digest);
        let is_new = known.names.get(&short).or_else(|| known.digests.get(&short)) != Some(&kept.id);
        let (store, id) = (Arc::clone(self), kept.id.clone());
        blocking(move || Ok(store.commit(&kept, &names, &[by_digest])?)).await?;
        progress.say(json!({"status": format!("Digest: {found_digest}")})).await;
        let news = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        progress.say(json!({"status": format!("Status: {news} {short}")})).await;
        Ok(id)
    }

    /// Fetches all that a manifest names.
    async fn fetch(self: &Arc<Store>, found: &Found, progress: &Progress) -> Result<Kept, EngineError> {
        let config = self.fetch_config(found).await?;
        let diff_ids: Vec<String> =
            serde_json::from_value(config["rootfs"]["diff_ids"].clone()).unwrap_or_default();
        let layers = &found.manifest.layers;
        if diff_ids.len() != layers.len() || diff_ids.iter().any(|id| store::hex(id) == "not-a-digest") {
            return Err(EngineError::Failed(format!(
                "{}: the image's configuration names {} layers and its manifest {}",
                found.endpoint.host,
                diff_ids.len(),
                layers.len()
            )));
        }
        for each in layers {
            progress.step(short(&each.digest), "Pulling fs layer").await;
        }
        let parts: Vec<(String, Part)> = diff_ids
            .into_iter()
            .zip(layers)
            .map(|(diff_id, layer)| (diff_id, self.part(found, layer, progress)))
            .collect();
        let work = parts.into_iter().map(|(diff_id, part)| async move { part.take(&diff_id).await });
        let layers: Vec<Layer> = stream::iter(work).buffered(AT_ONCE).try_collect().await?;
        let raw = found.raw.clone();
        let id = found.manifest.config.digest.clone();
        blocking(move || {
            let manifest = Store::put_blob(&raw)?;
            let size = layer::unpacked_size(&layers);
            Ok(Kept { id, manifest, layers, size })
        })
        .await
    }

    fn part(self: &Arc<Store>, found: &Found, descriptor: &OciDescriptor, progress: &Progress) -> Part {
        Part {
            store: Arc::clone(self),
            endpoint: Arc::clone(&found.endpoint),
            progress: progress.clone(),
            descriptor: descriptor.clone(),
        }
    }

    async fn fetch_config(self: &Arc<Store>, found: &Found) -> Result<Value, EngineError> {
        let descriptor = &found.manifest.config;
        if u64::try_from(descriptor.size).unwrap_or(u64::MAX) > LARGEST_CONFIG {
            return Err(EngineError::Failed(format!(
                "the image's configuration is of {} bytes",
                descriptor.size
            )));
        }
        let path = self.part(found, descriptor, &Progress::silent()).download().await?;
        let text = blocking(move || {
            fs::read(&path)
                .map_err(|error| EngineError::Failed(format!("reading {}: {error}", path.display())))
        })
        .await?;
        let config: Value = serde_json::from_slice(&text)
            .map_err(|error| EngineError::Failed(format!("the image's configuration: {error}")))?;
        if config["rootfs"]["diff_ids"].is_null() {
            return Err(EngineError::Failed(
                "this is not an image of containers: its configuration names no layers".to_owned(),
            ));
        }
        Ok(config)
    }
}

/// The manifest for our platform.
async fn find(endpoint: Endpoint, platform: &str) -> Result<Found, EngineError> {
    let told = |error| explain(&endpoint, &error);
    endpoint.client.auth(&endpoint.reference, &endpoint.auth, RegistryOperation::Pull).await.map_err(told)?;
    let (raw, named) = get_manifest(&endpoint, &endpoint.reference).await?;
    let value: Value = serde_json::from_slice(&raw)
        .map_err(|error| EngineError::Failed(format!("{}: the manifest: {error}", endpoint.host)))?;
    let raw = if value["manifests"].is_array() {
        let index: OciImageIndex = serde_json::from_value(value).map_err(|error| {
            EngineError::Failed(format!("{}: the index of manifests: {error}", endpoint.host))
        })?;
        let (os, architecture) = platform.split_once('/').unwrap_or(("linux", "amd64"));
        let entry = index.manifests.iter().find(|entry| {
            entry.platform.as_ref().is_some_and(|platform| {
                platform.os.to_string() == os && platform.architecture.to_string() == architecture
            })
        });
        let entry = entry.ok_or_else(|| {
            EngineError::NoSuchImage(format!("{}: not for {platform}", reference::name(&endpoint.reference)))
        })?;
        let exact = endpoint.reference.clone_with_digest(entry.digest.clone());
        get_manifest(&endpoint, &exact).await?.0
    } else {
        raw
    };
    let manifest: OciImageManifest = serde_json::from_slice(&raw)
        .map_err(|error| EngineError::Failed(format!("{}: the manifest: {error}", endpoint.host)))?;
    Ok(Found { endpoint: Arc::new(endpoint), manifest, raw, digest: named })
}

/// A manifest and its digest, which is computed, not believed.
async fn get_manifest(endpoint: &Endpoint, reference: &Reference) -> Result<(Vec<u8>, String), EngineError> {
    let got = endpoint.client.pull_manifest_raw(reference, &endpoint.auth, &ACCEPTED).await;
    let (raw, _) = got.map_err(|error| explain(endpoint, &error))?;
    let found = digest(&raw);
    if let Some(wanted) = reference.digest().filter(|wanted| *wanted != found) {
        return Err(EngineError::Failed(format!(
            "{} answered {found} when asked for {wanted}",
            endpoint.host
        )));
    }
    Ok((raw.to_vec(), found))
}

fn short(digest: &str) -> &str {
    store::hex(digest).get(..12).unwrap_or(digest)
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
        let known = store::layer(diff_id).exists() && store::blob(&self.descriptor.digest).exists();
        if known {
            self.progress.step(id, "Already exists").await;
        } else {
            let blob = self.download().await?;
            self.progress.step(id, "Extracting").await;
            let _only = self.store.lock(diff_id).await;
            let name = diff_id.to_owned();
            let refused = blocking(move || Ok(layer::unpack(&blob, &name)?)).await?;
            for entry in refused {
                self.progress.step(id, &format!("left out {entry}")).await;
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
        if store::hex(digest) == "not-a-digest" {
            return Err(EngineError::Failed(format!(
                "{}: {digest} is not a digest that can be checked",
                self.endpoint.host
            )));
        }
        let target = store::blob(digest);
        let _only = self.store.lock(digest).await;
        if target.exists() {
            return Ok(target);
        }
        let partial = incoming(&format!("{}.partial", store::hex(digest)));
        let mut attempt = 0;
        while let Err(error) = self.attempt(&partial).await {
            attempt += 1;
            if attempt == ATTEMPTS || !matches!(error, EngineError::Failed(_)) {
                return Err(error);
            }
            self.progress.step(short(digest), &format!("Retrying: {error}")).await;
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
        }
        self.progress.step(short(digest), "Verifying Checksum").await;
        let (from, to, wanted) = (partial, target.clone(), digest.clone());
        blocking(move || Ok(verify(&from, &to, &wanted)?)).await?;
        self.progress.step(short(digest), "Download complete").await;
        Ok(target)
    }

    /// Goes on with a download where it was cut off.
    async fn attempt(&self, partial: &Path) -> Result<(), EngineError> {
        let failed = |error: std::io::Error| EngineError::Failed(format!("{}: {error}", self.endpoint.host));
        if let Some(folder) = partial.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let total = u64::try_from(self.descriptor.size).unwrap_or(0);
        let mut done = tokio::fs::metadata(partial).await.map_or(0, |data| data.len());
        if done > total {
            done = 0;
        }
        if done == total && total > 0 {
            return Ok(());
        }
        let Endpoint { client, reference, .. } = &*self.endpoint;
        let (mut body, append) = if done == 0 {
            let got = client.pull_blob_stream(reference, &self.descriptor).await;
            (got.map_err(|error| explain(&self.endpoint, &error))?, false)
        } else {
            let got = client.pull_blob_stream_partial(reference, &self.descriptor, done, None).await;
            match got.map_err(|error| explain(&self.endpoint, &error))? {
                BlobResponse::Partial(body) => (body, true),
                BlobResponse::Full(body) => (body, false),
            }
        };
        let mut options = tokio::fs::OpenOptions::new();
        let options = options.create(true).append(append).write(true).truncate(!append);
        let mut file = options.open(partial).await.map_err(failed)?;
        let mut count = if append { done } else { 0 };
        let mut told = count;
        while let Some(bytes) = body.stream.next().await {
            let bytes = bytes.map_err(failed)?;
            count += bytes.len() as u64;
            if count > total {
                return Err(EngineError::BadRequest(format!(
                    "{}: {} is longer than the {total} bytes of the manifest",
                    self.endpoint.host, self.descriptor.digest
                )));
            }
            file.write_all(&bytes).await.map_err(failed)?;
            if count - told >= STEP {
                told = count;
                self.progress.count(short(&self.descriptor.digest), "Downloading", (count, total)).await;
            }
        }
        file.flush().await.map_err(failed)?;
        if count < total {
            return Err(EngineError::Failed(format!(
                "{} hung up after {count} of {total} bytes",
                self.endpoint.host
            )));
        }
        Ok(())
    }
}

/// Checks the digest of a complete download and puts it into its place. One that is wrong is not kept: going on with it
/// would never mend it.
fn verify(partial: &Path, target: &Path, wanted: &str) -> anyhow::Result<()> {
    let mut file = fs::File::open(partial)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 256 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let found = digest_text(hasher);
    if found != wanted {
        let _ = fs::remove_file(partial);
        anyhow::bail!("{wanted} was damaged on its way: what came is {found}");
    }
    durable::rename(partial, target)
}
