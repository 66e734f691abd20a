//! A key in memory that is in no file and in no process list: other programs read it through a
//! descriptor.

use anyhow::{Context, Result};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Size limit of a key file (cryptsetup's own).
pub(super) const LONGEST: u64 = 8 << 20;

/// A passphrase, or the content of a key file.
#[derive(Debug)]
pub(crate) struct Secret(File);

impl Secret {
    pub(crate) fn new(bytes: &[u8]) -> Result<Secret> {
        // Without CLOEXEC: child processes read it.
        let file = rustix::fs::memfd_create("key", MemfdFlags::empty())
            .context("creating memory for a key")?;
        let mut file = File::from(file);
        file.write_all(bytes).context("storing a key")?;
        Ok(Secret(file))
    }

    /// A key that cannot be guessed but is easy to write down: eight groups of five letters and
    /// digits.
    pub(crate) fn recovery() -> Result<(Secret, String)> {
        /// Without letters and digits that look alike.
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut random = [0_u8; 40];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .context("generating a key")?;
        let letters: Vec<char> =
            random.iter().map(|byte| char::from(LETTERS[usize::from(*byte % 32)])).collect();
        let groups: Vec<String> = letters.chunks(5).map(|group| group.iter().collect()).collect();
        let text = groups.join("-");
        Ok((Secret::new(text.as_bytes())?, text))
    }

    /// The path under which a child process opens it.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let length = self.0.metadata()?.len().min(LONGEST);
        let mut bytes = vec![0; usize::try_from(length)?];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}
