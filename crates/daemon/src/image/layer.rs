//! A layer from its blob to an unpacked tree: uncompressed archives, gzip and zstd.

use super::store::incoming;
use crate::volume;
use anyhow::{Context, Result, bail};
use corral_engine::archive::root::open_root;
use corral_engine::archive::unpack::{self, Whiteouts};
use corral_engine::durable;
use corral_engine::image::digest::{digest_text, hex};
use corral_engine::image::layout::{self, Layer};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Unpacks a blob of the store to its layer folder, unless that is there; returns the entries that
/// were refused. The archive must have the digest that the image's configuration says.
pub(super) fn unpack(blob: &Path, diff_id: &str) -> Result<Vec<String>> {
    let target = layout::layer(diff_id);
    if target.exists() {
        return Ok(Vec::new());
    }
    let fresh = incoming(&format!("tree-{}", hex(diff_id)));
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("making {}", fresh.display()))?;
    let unpacked = unpack_to(blob, diff_id, &fresh);
    let refused = match unpacked {
        Ok(refused) => refused,
        Err(error) => {
            let _ = fs::remove_dir_all(&fresh);
            return Err(error);
        }
    };
    durable::rename(&fresh, &target)?;
    Ok(refused)
}

fn unpack_to(blob: &Path, diff_id: &str, folder: &Path) -> Result<Vec<String>> {
    let root = open_root(folder)?;
    let mut reader = Hashing::new(decompress(File::open(blob).context("opening the layer")?)?);
    let unpacked = unpack::unpack(&mut reader, &root, Whiteouts::Convert)?;
    // An archive ends before its padding does; the digest is of all of it.
    io::copy(&mut reader, &mut io::sink()).context("reading the layer to its end")?;
    let found = digest_text(reader.hasher);
    if found != diff_id {
        bail!(
            "the layer is {found}, but the image names {diff_id}: \
             it was damaged or changed in transit"
        );
    }
    Ok(unpacked.refused)
}

/// The compression of an archive, by its first bytes: registries' media types are not reliable.
pub(crate) fn decompress(source: impl Read + 'static) -> Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(128 * 1024, source);
    let start = reader.fill_buf().context("reading the layer")?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(reader))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::stream::Decoder::with_buffer(reader).context("reading zstd")?)
    } else {
        Box::new(reader)
    })
}

/// What registries call a layer that begins so.
pub(super) fn media_type(start: &[u8]) -> &'static str {
    match start {
        [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => "application/vnd.oci.image.layer.v1.tar",
    }
}

/// Bytes of the files of layers that are unpacked.
pub(super) fn unpacked_size(layers: &[Layer]) -> u64 {
    layers.iter().map(|layer| volume::size(&layout::layer(&layer.diff_id))).sum()
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    pub(super) hasher: Sha256,
    pub(super) count: u64,
}

impl<R> Hashing<R> {
    pub(super) fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hasher: Sha256::new(), count: 0 }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}
