//! One blob from a registry into a file. A download resumes where it was cut off, and is accepted
//! only when its digest is right.

use super::progress::Progress;
use super::registry::{Endpoint, explain};
use crate::blocking::blocking;
use corral_engine::durable;
use corral_engine::error::EngineError;
use corral_engine::image::digest::{self, digest_of, short};
use futures_util::StreamExt;
use oci_client::client::{BlobResponse, SizedStream};
use oci_client::manifest::OciDescriptor;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// How often a download goes on after it was cut off.
const ATTEMPTS: u32 = 6;
/// Bytes between two reports of progress.
const STEP: u64 = 512 * 1024;

/// A blob to be downloaded.
pub(super) struct Download {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) progress: Progress,
    pub(super) descriptor: OciDescriptor,
}

/// Only what has a digest that can be checked is fetched.
pub(super) fn check(digest: &str, host: &str) -> Result<(), EngineError> {
    if !digest::is_digest(digest) {
        return Err(EngineError::Failed(format!(
            "{host}: {digest} is not a digest that can be checked"
        )));
    }
    Ok(())
}

impl Download {
    /// Puts the blob at `target`; what has been received so far is in `partial`.
    pub(super) async fn download_to(
        &self,
        partial: &Path,
        target: &Path,
    ) -> Result<(), EngineError> {
        let digest = &self.descriptor.digest;
        let mut attempt = 0;
        while let Err(error) = self.attempt(partial).await {
            attempt += 1;
            if attempt == ATTEMPTS || !matches!(error, EngineError::Failed(_)) {
                return Err(error);
            }
            self.progress.step(short(digest), &format!("Retrying: {error}")).await;
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
        }
        self.progress.step(short(digest), "Verifying Checksum").await;
        let (from, to, wanted) = (partial.to_path_buf(), target.to_path_buf(), digest.clone());
        blocking(move || Ok(verify(&from, &to, &wanted)?)).await?;
        self.progress.step(short(digest), "Download complete").await;
        Ok(())
    }

    /// The body of a blob of which `done` bytes are here; true: it has only the rest.
    async fn request(&self, done: u64) -> Result<(SizedStream, bool), EngineError> {
        let Endpoint { client, reference, .. } = &*self.endpoint;
        let failed = |error| explain(&self.endpoint, &error);
        if done == 0 {
            let got = client.pull_blob_stream(reference, &self.descriptor).await;
            return Ok((got.map_err(failed)?, false));
        }
        let got = client.pull_blob_stream_partial(reference, &self.descriptor, done, None).await;
        Ok(match got.map_err(failed)? {
            BlobResponse::Partial(body) => (body, true),
            BlobResponse::Full(body) => (body, false),
        })
    }

    /// Goes on with a download where it was cut off.
    async fn attempt(&self, partial: &Path) -> Result<(), EngineError> {
        let failed = |error| self.failed(&error);
        if let Some(folder) = partial.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let total = self.total();
        let mut done = tokio::fs::metadata(partial).await.map_or(0, |data| data.len());
        if done > total {
            done = 0;
        }
        if done == total && total > 0 {
            return Ok(());
        }
        let (body, append) = self.request(done).await?;
        let mut options = tokio::fs::OpenOptions::new();
        let options = options.create(true).append(append).write(true).truncate(!append);
        let mut file = options.open(partial).await.map_err(failed)?;
        let count = self.receive(body, &mut file, if append { done } else { 0 }).await?;
        if count < total {
            return Err(EngineError::Failed(format!(
                "{} closed the connection after {count} of {total} bytes",
                self.endpoint.host
            )));
        }
        Ok(())
    }

    /// Appends a body to the file, in which there are `count` bytes; returns how many there are
    /// then.
    async fn receive(
        &self,
        mut body: SizedStream,
        file: &mut File,
        mut count: u64,
    ) -> Result<u64, EngineError> {
        let (digest, total) = (&self.descriptor.digest, self.total());
        let failed = |error| self.failed(&error);
        let mut reported = count;
        while let Some(bytes) = body.stream.next().await {
            let bytes = bytes.map_err(failed)?;
            count += bytes.len() as u64;
            if count > total {
                return Err(EngineError::BadRequest(format!(
                    "{}: {digest} is longer than the {total} bytes of the manifest",
                    self.endpoint.host
                )));
            }
            file.write_all(&bytes).await.map_err(failed)?;
            if count - reported >= STEP {
                reported = count;
                self.progress.count(short(digest), "Downloading", (count, total)).await;
            }
        }
        file.flush().await.map_err(failed)?;
        Ok(count)
    }

    fn total(&self) -> u64 {
        u64::try_from(self.descriptor.size).unwrap_or(0)
    }

    fn failed(&self, error: &std::io::Error) -> EngineError {
        EngineError::Failed(format!("{}: {error}", self.endpoint.host))
    }
}

/// Checks the digest of a complete download and renames it to its target. One that is wrong is
/// removed: resuming it would never repair it.
fn verify(partial: &Path, target: &Path, wanted: &str) -> anyhow::Result<()> {
    let found = digest_of(fs::File::open(partial)?)?;
    if found != wanted {
        let _ = fs::remove_file(partial);
        anyhow::bail!("{wanted} was damaged in transit: the download is {found}");
    }
    durable::rename(partial, target)
}
