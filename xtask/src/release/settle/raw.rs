//! What the parts of a disk have in common: how they are opened, emptied and read.

use crate::packages::Package;
use crate::sh;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;

/// What all disks of a release have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// With the tools of the file systems.
    pub(crate) packages: &'a [Package],
    /// The time of all files.
    pub(crate) epoch: u64,
}

pub(super) fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

/// Makes a part of a disk a hole.
pub(super) fn punch(disk: &Path, start: u64, bytes: u64) -> Result<()> {
    let mut punch = Command::new("fallocate");
    punch.args(["--punch-hole", "--offset", &start.to_string(), "--length", &bytes.to_string()]);
    sh::output(punch.arg(disk)).context("emptying a part of the disk").map(drop)
}

/// Seconds since 1970 as `date` formats them, in UTC.
pub(super) fn date(epoch: u64, format: &str) -> Result<String> {
    let mut date = Command::new("date");
    Ok(sh::output(date.args(["-u", "-d", &format!("@{epoch}"), format]))?.trim().to_owned())
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
