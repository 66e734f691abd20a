//! An engine in a file: an image archive, which the system engine loads, or Docker's own static
//! programs (a tar archive with a folder `docker`), of which an image is made. No name of an image
//! that is there already moves (`candidate`).

use anyhow::{Context, Result, bail, ensure};
use corral_docker::{Client, Engine};
use corral_machine::files::remove_durably;
use corral_machine::program;
use corral_resolve::engines::{NAME_LABEL, is_plain};
use flate2::read::MultiGzDecoder;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

const CLIENT: &str = "/usr/bin/system-docker";
/// Where the image of static programs is written before it is loaded: the state disk has room.
const DRAFT: &str = "/var/lib/rancher/cache/engine.tar";
/// Files of an archive that show what it is.
const OF_IMAGES: [&str; 3] = ["manifest.json", "index.json", "oci-layout"];
const STATIC: &str = "docker/";
const EXTENSIONS: [&str; 4] = [".tgz", ".tar.gz", ".tar.zst", ".tar"];

/// Loads a file; returns the name of the engine and the id of its image, which has no name yet.
pub(super) fn load(file: &Path) -> Result<(String, String)> {
    let shown = file.display();
    println!("loading {shown}");
    let of_file = name_of(file).with_context(|| format!("{shown}: its name is no engine's"))?;
    if has_static_programs(file).with_context(|| format!("reading {shown}"))? {
        let draft = Path::new(DRAFT);
        let imported = convert(file, draft).and_then(|()| import(draft, &of_file));
        remove_durably(draft)?;
        return imported.map(|id| (of_file, id)).with_context(|| format!("taking {shown}"));
    }
    let client = Client::of(Engine::System)?;
    let archive = File::open(file).with_context(|| format!("opening {shown}"))?;
    let loaded = client.load_unnamed(archive).with_context(|| format!("loading {shown}"))?;
    let id = loaded.into_iter().next_back();
    let id = id.with_context(|| format!("{shown}: it has no image"))?;
    let image = client.image(&id)?.unwrap_or_default();
    let labelled = image.label(NAME_LABEL).filter(|name| is_plain(name)).map(str::to_owned);
    Ok((labelled.unwrap_or(of_file), id))
}

/// `docker-28.5.2` of `/mnt/docker-28.5.2.tgz`.
pub(super) fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let bare = without_extension(name).unwrap_or(name);
    is_plain(bare).then(|| bare.to_owned())
}

/// Has it the extension of an archive?
pub(super) fn is_named_as_one(name: &str) -> bool {
    without_extension(name).is_some()
}

fn without_extension(name: &str) -> Option<&str> {
    EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension))
}

/// Returns the id of the image.
fn import(draft: &Path, name: &str) -> Result<String> {
    let label = format!("LABEL {NAME_LABEL}={name}");
    let said = program::run(Command::new(CLIENT).args(["import", "--change", &label]).arg(draft))?;
    Ok(said.trim().to_owned())
}

fn open(file: &Path) -> Result<tar::Archive<Box<dyn Read>>> {
    let mut source = File::open(file)?;
    let mut start = [0_u8; 2];
    let length = source.read(&mut start)?;
    source.rewind()?;
    let source = BufReader::new(source);
    Ok(tar::Archive::new(match start.get(..length) {
        Some([0x1f, 0x8b]) => Box::new(MultiGzDecoder::new(source)),
        _ => Box::new(source),
    }))
}

/// False for an image archive, and for what only the system engine can read.
fn has_static_programs(file: &Path) -> Result<bool> {
    for entry in open(file)?.entries()? {
        let Ok(entry) = entry else { return Ok(false) };
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        if OF_IMAGES.contains(&path.as_str()) {
            return Ok(false);
        }
        if path.starts_with(STATIC) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the programs as the file system of an image. Nothing else of the archive is taken.
fn convert(file: &Path, draft: &Path) -> Result<()> {
    let folder = draft.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let output = File::create(draft).with_context(|| format!("writing {}", draft.display()))?;
    let mut target = tar::Builder::new(output);
    let mut programs = Vec::new();
    for entry in open(file)?.entries()? {
        let mut entry = entry.context("unpacking it")?;
        let Some(name) = program_name(&entry.path()?) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.size());
        header.set_mode(0o755);
        target
            .append_data(&mut header, format!("engine/{name}"), &mut entry)
            .with_context(|| format!("writing {name}"))?;
        programs.push(name);
    }
    target.into_inner()?.sync_all()?;
    ensure!(programs.iter().any(|name| name == "dockerd"), "it has no docker/dockerd");
    if !programs.iter().any(|name| name == "containerd") {
        bail!("it has no docker/containerd: this is not the archive of the engine");
    }
    Ok(())
}

/// `dockerd` of `docker/dockerd`.
fn program_name(path: &Path) -> Option<String> {
    let path = path.strip_prefix(".").unwrap_or(path);
    let name = path.strip_prefix("docker").ok().map(PathBuf::from)?.to_str()?.to_owned();
    is_plain(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_name_of_its_engine() {
        for (file, expected) in [
            ("/mnt/docker-28.5.2.tgz", Some("docker-28.5.2")),
            ("/mnt/docker-28.5.tar", Some("docker-28.5")),
            ("engine", Some("engine")),
            ("/mnt/my engine.tar", None),
            ("/", None),
        ] {
            assert_eq!(name_of(Path::new(file)).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn programs_are_in_one_folder() {
        for (path, expected) in [
            ("docker/dockerd", Some("dockerd")),
            ("./docker/runc", Some("runc")),
            ("docker/", None),
            ("docker/a/b", None),
            ("docker/../etc/passwd", None),
            ("other/dockerd", None),
        ] {
            assert_eq!(program_name(Path::new(path)).as_deref(), expected, "{path}");
        }
    }
}
