//! Writes a complete version to a boot partition. The data is checked while it is written, flushed,
//! and checked again as read back from the disk. It cannot boot before the menu is switched.

use super::source::Source;
use super::{Part, Release};
use anyhow::{Context, Result, bail};
use corral_engine::image::digest::digest_text;
use corral_machine::boot_partition::{Arguments, BootPartition, name_of_copy};
use corral_machine::files::write_atomic;
use corral_machine::{drivers, mounts};
use corral_terminal::progress::Progress;
use corral_terminal::size::megabytes;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU64;
use std::path::Path;

const CHUNK: usize = 256 * 1024;
/// Bytes that stay free for the menu.
const SPARE: u64 = 1 << 20;

/// Writes a version, with its menu entries.
pub(crate) fn write_version(
    partition: &BootPartition,
    source: &Source,
    release: &Release,
    arguments: &Arguments,
) -> Result<()> {
    let folder = partition.folder(&release.version);
    partition.clear(&release.version)?;
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut progress =
        Progress::new(&format!("writing version {}", release.version), release.size());
    for part in release.parts() {
        write_part(&folder.join(&part.name), source.read(part)?, part, &mut progress)?;
    }
    write_atomic(&folder.join("release.json"), &release.manifest, 0o644)?;
    write_atomic(&folder.join("release.sig"), release.signature.as_bytes(), 0o644)?;
    progress.done();
    verify(partition, release)?;
    partition.write_entries(&release.version, arguments)
}

/// Adds the drivers to a version that boots already: verified copies get their names last. After a
/// power cut at any step this can be repeated, and goes on with what is there.
pub(crate) fn add_drivers(
    partition: &BootPartition,
    source: &Source,
    release: &Release,
) -> Result<()> {
    let folder = partition.folder(&release.version);
    partition.clear_copies(&release.version)?;
    let missing = missing_drivers(partition, release)?;
    let size: u64 = missing.iter().map(|part| part.size).sum();
    let free = partition.free()?;
    if free < size.saturating_add(SPARE) {
        bail!(
            "the boot partition has {} free and {} are needed; no driver was added",
            megabytes(free),
            megabytes(size)
        );
    }
    let mut progress = Progress::new("writing the drivers", size);
    let copies: Vec<Part> = missing
        .iter()
        .map(|part| Part { name: name_of_copy(&part.name), ..(*part).clone() })
        .collect();
    for (part, copy) in missing.iter().zip(&copies) {
        write_part(&folder.join(&copy.name), source.read(part)?, part, &mut progress)?;
    }
    progress.done();
    verify_parts(&folder, &copies, size)?;
    partition.take_drivers(&release.version, &partition.load_arguments())
}

/// The drivers that are not on the partition, or are damaged there. What is in use cannot be
/// replaced: its blocks would be free only after a restart.
fn missing_drivers<'a>(partition: &BootPartition, release: &'a Release) -> Result<Vec<&'a Part>> {
    let folder = partition.folder(&release.version);
    let [image, _] = drivers::FILES;
    let is_mounted = mounts::is_mount_point(Path::new(drivers::MOUNT));
    let mut missing = Vec::new();
    for part in &release.drivers {
        if folder.join(&part.name).exists() {
            match verify_parts(&folder, [part], part.size) {
                Ok(()) => continue,
                Err(error) if part.name == image && is_mounted => {
                    return Err(error).context(
                        "the drivers are in use and cannot be replaced; upgrade to another \
                         version, which brings its own",
                    );
                }
                Err(_) => {}
            }
        }
        missing.push(part);
    }
    Ok(missing)
}

/// Has the version the drivers of this release, undamaged?
pub(crate) fn has_drivers(partition: &BootPartition, release: &Release) -> bool {
    let folder = partition.folder(&release.version);
    partition.has_drivers(&release.version)
        && verify_parts(&folder, &release.drivers, release.size_of_drivers()).is_ok()
}

/// Reads a complete release from its source, and compares it with its manifest.
pub(crate) fn check(source: &Source, release: &Release) -> Result<()> {
    let mut progress =
        Progress::new(&format!("checking version {}", release.version), release.size());
    for part in release.parts() {
        let found = copy_hashed(source.read(part)?, std::io::sink(), part, &mut progress)?;
        if found != part.digest {
            bail!(
                "{} of the release is damaged: it is {found} instead of {}; fetch the release \
                 again",
                part.name,
                part.digest
            );
        }
    }
    progress.done();
    Ok(())
}

/// Reads a version back from the disk and compares it with its manifest.
pub(crate) fn verify(partition: &BootPartition, release: &Release) -> Result<()> {
    verify_parts(&partition.folder(&release.version), release.parts(), release.size())
}

fn verify_parts<'a>(
    folder: &Path,
    parts: impl IntoIterator<Item = &'a Part>,
    size: u64,
) -> Result<()> {
    let mut progress = Progress::new("verifying the copy", size);
    for part in parts {
        let path = folder.join(&part.name);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        // The page cache has what was written; this check is about what the disk has.
        fadvise(&file, 0, None::<NonZeroU64>, Advice::DontNeed)?;
        let found = copy_hashed(file, std::io::sink(), part, &mut progress)?;
        if found != part.digest {
            bail!(
                "{} was damaged on its way to the disk: it is {found} instead of {}",
                path.display(),
                part.digest
            );
        }
    }
    progress.done();
    Ok(())
}

fn write_part(
    path: &Path,
    from: Box<dyn Read>,
    part: &Part,
    progress: &mut Progress,
) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let found = copy_hashed(from, &mut file, part, progress)
        .with_context(|| format!("writing {}", path.display()))?;
    if found != part.digest {
        bail!(
            "{} of the release is damaged: it is {found} instead of {}; fetch the release again",
            part.name,
            part.digest
        );
    }
    file.sync_all().with_context(|| format!("flushing {}", path.display()))
}

/// Copies no more than the size of the part, and returns the digest of the copied bytes.
fn copy_hashed(
    mut from: impl Read,
    mut to: impl Write,
    part: &Part,
    progress: &mut Progress,
) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; CHUNK];
    let mut count = 0_u64;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        count += read as u64;
        if count > part.size {
            bail!("{} is longer than the {} bytes of the manifest", part.name, part.size);
        }
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        progress.add(read as u64);
    }
    Ok(digest_text(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_machine::drivers;

    fn part(name: &str, bytes: &[u8]) -> Part {
        let digest = digest_text(Sha256::new_with_prefix(bytes));
        Part { name: name.to_owned(), digest, size: bytes.len() as u64 }
    }

    /// A boot partition and a source with the same version.
    fn folders(name: &str, contents: [&str; 2]) -> (BootPartition, Source, Release) {
        let root = std::env::temp_dir().join(format!("corral-copy-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let partition = BootPartition::at(&root);
        let source = root.join("source");
        fs::create_dir_all(partition.folder("1")).unwrap();
        fs::create_dir_all(&source).unwrap();
        let named = drivers::FILES.into_iter().zip(contents);
        let drivers: Vec<Part> = named.map(|(name, text)| part(name, text.as_bytes())).collect();
        for (part, text) in drivers.iter().zip(contents) {
            fs::write(source.join(&part.name), text).unwrap();
        }
        let release = Release {
            version: "1".to_owned(),
            files: Vec::new(),
            drivers,
            contents: part("contents.json", b""),
            keeps_system_docker: true,
            manifest: Vec::new(),
            signature: String::new(),
        };
        (partition, Source::Folder(source), release)
    }

    #[test]
    fn drivers_are_added_again_after_any_cut() {
        let contents = ["the image", "the archive"];
        // What is in the folder of the version: its name, and its text.
        let cases: [&[(&str, &str)]; 5] = [
            &[],
            &[("drivers.erofs.new", "the im"), ("drivers.initrd.new", "the archive")],
            &[("drivers.erofs", "the image"), ("drivers.initrd.new", "the archive")],
            &[("drivers.erofs", "damaged"), ("drivers.initrd", "the archive")],
            &[("drivers.erofs", "the image"), ("drivers.initrd", "the archive")],
        ];
        for (number, files) in cases.into_iter().enumerate() {
            let (partition, source, release) = folders(&format!("cut-{number}"), contents);
            let folder = partition.folder("1");
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
            add_drivers(&partition, &source, &release).unwrap();
            let mut names: Vec<_> =
                fs::read_dir(&folder).unwrap().map(|item| item.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["drivers.erofs", "drivers.initrd", "menu.cfg"], "{files:?}");
            for (name, text) in drivers::FILES.into_iter().zip(contents) {
                assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), text, "{files:?}");
            }
            let menu = fs::read_to_string(folder.join("menu.cfg")).unwrap();
            assert!(menu.contains(",/boot/1/drivers.initrd\n"), "{files:?}");
            fs::remove_dir_all(partition.root()).unwrap();
        }
    }

    #[test]
    fn what_is_there_is_not_read_from_the_source() {
        let (partition, source, release) = folders("kept", ["the image", "the archive"]);
        let [image, initrd] = drivers::FILES;
        fs::write(partition.folder("1").join(image), "the image").unwrap();
        fs::write(partition.root().join("source").join(image), "of another build").unwrap();
        add_drivers(&partition, &source, &release).unwrap();
        fs::remove_file(partition.folder("1").join(image)).unwrap();
        assert!(add_drivers(&partition, &source, &release).is_err());
        assert!(partition.folder("1").join(initrd).exists());
        fs::remove_dir_all(partition.root()).unwrap();
    }
}
