//! Where a release comes from: the medium from which this system was started, one file, or a
//! registry.

use super::drivers::Choice;
use super::{Part, Release, check_signature, signature_of};
use crate::manifest::{parse_index, parse_signature};
use crate::registries;
use anyhow::{Context, Result, bail};
use corral_daemon::image::artifact::Artifact;
use corral_machine::boot_partition::BootPartition;
use corral_machine::boot_partition::booted::MEDIUM;
use corral_machine::files::write_atomic;
use corral_machine::os_release::running_version;
use corral_terminal::progress::Progress;
use corral_terminal::size::megabytes;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Take};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Download folder for releases from registries.
const STAGE: &str = "/var/lib/rancher/releases";
/// Size limit of manifests.
const LARGEST_TEXT: u64 = 4 << 20;

/// A release that can be read.
#[derive(Debug)]
pub(crate) enum Source {
    /// A folder with the files of a version, as boot partitions and the ISO have it.
    Folder(PathBuf),
    /// An OCI image layout in a tar archive.
    Archive(Archive),
}

/// A tar archive whose members are read in place.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    /// name → (offset, length)
    members: BTreeMap<String, (u64, u64)>,
}

impl Source {
    /// The running version, from the medium from which it was started.
    pub(crate) fn running() -> Result<Source> {
        let folder = BootPartition::at(Path::new(MEDIUM)).folder(&running_version());
        if !folder.join("release.json").exists() {
            bail!(
                "this system was not started from a medium with a release on it ({} does not \
                 exist); name one with -i FILE or -i IMAGE",
                folder.join("release.json").display()
            );
        }
        Ok(Source::Folder(folder))
    }

    /// A release in a file, or on a medium that is mounted at a folder: an ISO.
    pub(crate) fn open(path: &Path) -> Result<Source> {
        if path.is_dir() {
            return Ok(Source::Folder(folder_below(path)?));
        }
        Ok(Source::Archive(Archive::open(path)?))
    }

    /// A release from a registry, fetched into a folder of the state disk. An interrupted download
    /// continues there. Nothing of it is trusted before its signature was checked. The second tier
    /// of drivers is fetched only if it is wanted, and nothing of what `accept` refuses.
    pub(crate) fn fetch(
        image: &str,
        insecure: bool,
        drivers: &Choice,
        accept: impl FnOnce(&Release) -> Result<()>,
    ) -> Result<Source> {
        let artifact = Artifact::find(image, &registries::load())?;
        let signature = signature_of(&artifact).or_else(|error| match insecure {
            true => Ok(None),
            false => Err(error),
        })?;
        let mut release = Release::parse(artifact.manifest.clone(), signature.unwrap_or_default())?;
        if !insecure {
            // Not a byte more of what has no trusted signature.
            check_signature(&release)?;
        }
        accept(&release)?;
        if !drivers.is_taken() {
            release.drivers.clear();
        }
        let folder = Path::new(STAGE).join(artifact.digest.replace(':', "-"));
        clear_others(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let room = room(&folder)?;
        let left_out = drivers.leave_out(&mut release, room, &folder.display().to_string());
        left_out.iter().flatten().for_each(|line| println!("drivers: {line}"));
        check_room(&folder, &release, room, drivers)?;
        for part in release.parts() {
            let target = folder.join(&part.name);
            if !target.exists() {
                let mut progress = Progress::new(&format!("fetching {}", part.name), part.size);
                artifact.fetch((&part.digest, part.size), &target, |count| progress.set(count))?;
                progress.done();
            }
        }
        write_atomic(&folder.join("release.json"), &release.manifest, 0o644)?;
        write_atomic(&folder.join("release.sig"), release.signature.as_bytes(), 0o644)?;
        Ok(Source::Folder(folder))
    }

    /// Deletes the download: it is on the boot partition now.
    pub(crate) fn forget_stage() {
        let _ = fs::remove_dir_all(STAGE);
    }

    /// Its manifest, without the drivers that it names if they are not there: the small ISO has the
    /// same manifest as the full one.
    pub(crate) fn release(&self) -> Result<Release> {
        let mut release = match self {
            Source::Folder(folder) => {
                let manifest = folder.join("release.json");
                let bytes = fs::read(&manifest)
                    .with_context(|| format!("reading {}", manifest.display()))?;
                let signature = fs::read_to_string(folder.join("release.sig")).unwrap_or_default();
                Release::parse(bytes, signature)?
            }
            Source::Archive(archive) => archive.release()?,
        };
        if !release.drivers.iter().all(|part| self.has(part)) {
            release.drivers.clear();
        }
        Ok(release)
    }

    fn has(&self, part: &Part) -> bool {
        match self {
            Source::Folder(folder) => folder.join(&part.name).is_file(),
            Source::Archive(archive) => archive.members.contains_key(&blob(&part.digest)),
        }
    }

    /// The bytes of a part. The caller checks them.
    pub(crate) fn read(&self, part: &Part) -> Result<Box<dyn Read>> {
        match self {
            Source::Folder(folder) => {
                let path = folder.join(&part.name);
                Ok(Box::new(
                    File::open(&path).with_context(|| format!("opening {}", path.display()))?,
                ))
            }
            Source::Archive(archive) => Ok(Box::new(archive.member(&blob(&part.digest))?)),
        }
    }
}

/// The only version below `boot` of a medium.
fn folder_below(medium: &Path) -> Result<PathBuf> {
    let boot = medium.join("boot");
    let items = fs::read_dir(&boot).with_context(|| format!("reading {}", boot.display()))?;
    let folders = items.flatten().map(|item| item.path());
    let mut versions: Vec<PathBuf> =
        folders.filter(|folder| folder.join("release.json").is_file()).collect();
    match (versions.pop(), versions.len()) {
        (Some(folder), 0) => Ok(folder),
        (Some(_), more) => {
            bail!("{} has {} versions; name the file of the release", boot.display(), more + 1)
        }
        (None, _) => bail!("{} has no version with a release.json", boot.display()),
    }
}

/// Deletes the downloads of other releases.
fn clear_others(folder: &Path) {
    let items = fs::read_dir(STAGE).into_iter().flatten().flatten();
    for item in items.filter(|item| item.path() != folder) {
        let _ = fs::remove_dir_all(item.path());
    }
}

/// Bytes that the files of a download can have: some may be there already.
fn room(folder: &Path) -> Result<u64> {
    let data = rustix::fs::statvfs(folder)
        .with_context(|| format!("reading the free space of {}", folder.display()))?;
    let items = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let files = items.flatten().filter_map(|item| item.metadata().ok());
    let downloaded: u64 = files.map(|data| data.blocks() * 512).sum();
    Ok(data.f_bavail * data.f_frsize + downloaded)
}

fn check_room(folder: &Path, release: &Release, room: u64, drivers: &Choice) -> Result<()> {
    let needed = release.size();
    if room < needed {
        bail!(
            "{} has room for {}, and the release needs {}{}; nothing was changed",
            folder.display(),
            megabytes(room),
            megabytes(needed),
            drivers.hint(release)
        );
    }
    Ok(())
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"))
}

impl Archive {
    fn open(path: &Path) -> Result<Archive> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut archive = tar::Archive::new(file);
        let mut members = BTreeMap::new();
        let entries =
            archive.entries_with_seek().with_context(|| format!("reading {}", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| {
                no_release(path, "it is not a tar archive with an OCI image layout")
            })?;
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            members.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Archive { path: path.to_path_buf(), members })
    }

    fn member(&self, name: &str) -> Result<Take<File>> {
        let (offset, length) = self
            .members
            .get(name)
            .with_context(|| no_release(&self.path, &format!("it has no {name}")))?;
        let mut file =
            File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        file.seek(SeekFrom::Start(*offset))?;
        Ok(file.take(*length))
    }

    fn text(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.member(name)?.take(LARGEST_TEXT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The first release manifest of the index, and its signature.
    fn release(&self) -> Result<Release> {
        let index = parse_index(&self.text("index.json")?)
            .with_context(|| format!("reading {}", self.path.display()))?;
        let manifest = self.text(&blob(&index.manifest))?;
        let signature =
            index.signature.and_then(|digest| parse_signature(&self.text(&blob(&digest)).ok()?));
        Release::parse(manifest, signature.unwrap_or_default())
    }
}

fn no_release(path: &Path, why: &str) -> String {
    format!("{} is not a release, or is truncated: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_has_one_version() {
        let medium = std::env::temp_dir().join(format!("corral-medium-{}", std::process::id()));
        let _ = fs::remove_dir_all(&medium);
        let version = |name: &str| {
            fs::create_dir_all(medium.join("boot").join(name)).unwrap();
            fs::write(medium.join("boot").join(name).join("release.json"), "{}").unwrap();
        };
        assert!(folder_below(&medium).is_err());
        fs::create_dir_all(medium.join("boot/syslinux")).unwrap();
        let error = folder_below(&medium).unwrap_err().to_string();
        assert!(error.contains("no version with a release.json"), "{error}");
        version("1.0");
        assert_eq!(folder_below(&medium).unwrap(), medium.join("boot/1.0"));
        version("2.0");
        let error = folder_below(&medium).unwrap_err().to_string();
        assert!(error.contains("has 2 versions"), "{error}");
        fs::remove_dir_all(&medium).unwrap();
    }
}
