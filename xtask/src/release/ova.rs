//! Archives with a fixed order of their members: OVA packages and Vagrant boxes. A package is an
//! archive in POSIX's format (ustar) of the description, the digests of the files, and the disk.

use super::ovf::{self, Package};
use crate::sum::{digest, digest_of_bytes};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

/// The content of a member.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    Text(&'a str),
    File(&'a Path),
}

/// Writes an archive of these members, in this order.
pub(super) fn pack(members: &[(&str, Content<'_>)], output: &Path, epoch: u64) -> Result<()> {
    let file = File::create(output).with_context(|| format!("making {}", output.display()))?;
    let mut archive = tar::Builder::new(BufWriter::new(file));
    for (name, content) in members {
        let added = match content {
            Content::Text(text) => {
                add(&mut archive, name, text.len() as u64, text.as_bytes(), epoch)
            }
            Content::File(path) => {
                let file = File::open(path)?;
                let size = file.metadata()?.len();
                add(&mut archive, name, size, file, epoch)
            }
        };
        added.with_context(|| format!("adding {name}"))?;
    }
    archive.into_inner()?.flush().with_context(|| format!("writing {}", output.display()))
}

fn add<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    content: impl Read,
    epoch: u64,
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_mtime(epoch);
    header.set_size(size);
    header.set_path(name)?;
    header.set_cksum();
    archive.append(&header, content)?;
    Ok(())
}

/// Writes a package. `disk` is the file that its description names.
pub(super) fn write(package: &Package<'_>, disk: &Path, output: &Path, epoch: u64) -> Result<()> {
    let (description, manifest) = (format!("{}.ovf", package.name), format!("{}.mf", package.name));
    let envelope = ovf::envelope(package);
    let digests =
        manifest_of(&[(&description, digest_of_bytes(&envelope)), (package.disk.0, digest(disk)?)]);
    pack(
        &[
            (&description, Content::Text(&envelope)),
            (&manifest, Content::Text(&digests)),
            (package.disk.0, Content::File(disk)),
        ],
        output,
        epoch,
    )
}

/// `SHA256(name)= digest`, a line for each file.
fn manifest_of(files: &[(&str, String)]) -> String {
    files.iter().map(|(name, digest)| format!("SHA256({name})= {digest}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::ovf::Host;

    #[test]
    fn the_description_comes_first_and_the_disk_last() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, output) = (folder.path().join("disk"), folder.path().join("corral.ova"));
        std::fs::write(&disk, "content").unwrap();
        let package = Package {
            host: Host::Vmware,
            name: "corral",
            version: "1.2.3",
            disk: ("corral-disk1.vmdk", 7),
            capacity: 1 << 30,
        };
        write(&package, &disk, &output, 1).unwrap();
        let mut archive = tar::Archive::new(File::open(output).unwrap());
        let mut texts = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().as_bytes()[257..265], *b"ustar\x0000");
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            texts.push((entry.path().unwrap().display().to_string(), text));
        }
        let names: Vec<&str> = texts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["corral.ovf", "corral.mf", "corral-disk1.vmdk"]);
        let (ovf, of_disk) = (digest_of_bytes(&texts[0].1), digest_of_bytes("content"));
        assert_eq!(
            texts[1].1,
            format!("SHA256(corral.ovf)= {ovf}\nSHA256(corral-disk1.vmdk)= {of_disk}\n")
        );
    }
}
