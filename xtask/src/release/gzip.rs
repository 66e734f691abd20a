//! Packing by gzip, without the name and the time of the file: the same bytes give the same bytes.

use crate::sh;
use crate::tree::Tree;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};

/// Packs a file; the file itself stays.
pub(super) fn write(from: &Path, output: &Path) -> Result<()> {
    let file = File::create(output).with_context(|| format!("making {}", output.display()))?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-n", "-6", "-c"]).arg(from).stdin(Stdio::null()).stdout(file);
    sh::run(&mut gzip)
}

/// Writes a packed archive. `write_archive` writes it unpacked, beside `output` for that time.
pub(super) fn write_archive(
    output: &Path,
    write_archive: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let archive = output.with_extension("tar");
    write_archive(&archive)?;
    write(&archive, output)?;
    fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))
}

/// Writes a tree as a packed archive; every time stamp is `epoch`.
pub(super) fn write_tree(tree: &Tree, output: &Path, epoch: u64) -> Result<()> {
    write_archive(output, |archive| {
        let file = File::create(archive);
        let file = file.with_context(|| format!("making {}", archive.display()))?;
        tree.write_tar(BufWriter::new(file), epoch)
    })
}
