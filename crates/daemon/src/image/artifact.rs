//! Artifacts of registries that are no images of containers, such as releases of the system:
//! manifests as they were signed, and blobs into files. For programs that run by themselves; the
//! daemon has `pull`.

use super::download::{self, Download};
use super::manifest_request::get_manifest;
use super::progress::Progress;
use super::registry::{Endpoint, Settings};
use corral_engine::error::EngineError;
use corral_engine::image::reference;
use oci_client::manifest::OciDescriptor;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::channel;

/// An artifact that a registry has.
pub struct Artifact {
    runtime: Runtime,
    endpoint: Arc<Endpoint>,
    /// Byte for byte.
    pub manifest: Vec<u8>,
    /// Computed from it.
    pub digest: String,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Artifact({} of {})", self.digest, self.endpoint.host)
    }
}

impl Artifact {
    /// Fetches the manifest of a name.
    pub fn find(name: &str, settings: &Settings) -> Result<Artifact, EngineError> {
        // An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| EngineError::Failed(format!("requesting {name}: {error}")))?;
        let target = reference::parse(name)?;
        let mut last = EngineError::NoSuchImage(name.to_owned());
        for endpoint in settings.endpoints(&target, None)? {
            let asked = runtime.block_on(async {
                endpoint.authorize().await?;
                get_manifest(&endpoint, &endpoint.reference).await
            });
            match asked {
                Ok((manifest, digest)) => {
                    return Ok(Artifact {
                        runtime,
                        endpoint: Arc::new(endpoint),
                        manifest,
                        digest,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The manifest that has this tag in the same repository.
    pub fn sibling(&self, tag: &str) -> Result<Vec<u8>, EngineError> {
        let of = &self.endpoint.reference;
        let name = format!("{}/{}:{tag}", of.registry(), of.repository());
        let mut sibling = reference::parse(&name)?;
        if of.namespace().is_some() {
            sibling.set_mirror_registry(of.resolve_registry().to_owned());
        }
        self.runtime.block_on(get_manifest(&self.endpoint, &sibling)).map(|(manifest, _)| manifest)
    }

    /// Puts a blob at `target`. A download that was cut off is in `target` with `.partial` behind
    /// it, and is resumed.
    pub fn fetch(
        &self,
        (digest, size): (&str, u64),
        target: &Path,
        mut report: impl FnMut(u64),
    ) -> Result<(), EngineError> {
        download::check(digest, &self.endpoint.host)?;
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let (sender, mut updates) = channel(8);
        let descriptor = OciDescriptor {
            digest: digest.to_owned(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let download = Download {
            endpoint: Arc::clone(&self.endpoint),
            progress: Progress::to(sender),
            descriptor,
        };
        self.runtime.block_on(async {
            let work = download.download_to(Path::new(&partial), target);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => return done,
                    Some(each) = updates.recv() => {
                        let current = each["progressDetail"]["current"].as_u64();
                        current.into_iter().for_each(&mut report);
                    }
                }
            }
        })
    }
}
