//! `ros preload-images`, in system containers when there is something to load: archives that somebody put below
//! `/var/lib/rancher/preload`, into the engine that their folder names. Each is loaded once; a newer one again.

use super::wait_for_docker;
use anyhow::{Context, Result, bail};
use corral_engine::paths;
use corral_machine::console::say;
use corral_machine::files::write_atomic;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = "/var/lib/rancher/preload";
/// What is loaded has a file of its name with this at its end.
const STAMP: &str = ".done";

/// Into which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    SystemDocker,
    Docker,
}

impl Engine {
    fn folder(self) -> PathBuf {
        Path::new(FOLDER).join(match self {
            Engine::SystemDocker => "system-docker",
            Engine::Docker => "docker",
        })
    }

    fn socket(self) -> String {
        match self {
            Engine::SystemDocker => format!("unix://{}", paths::API_SOCKET),
            Engine::Docker => "unix:///var/run/docker.sock".to_owned(),
        }
    }
}

/// Loads what is there; what cannot be loaded is told, and tried again at the next start.
pub(crate) fn run(engine: Engine) -> Result<()> {
    if engine == Engine::Docker {
        wait_for_docker::run()?;
    }
    let archives = waiting(&engine.folder());
    let mut failures = 0;
    for archive in &archives {
        if let Err(error) = load(engine, archive) {
            failures += 1;
            say(&format!("preload: {}: {error:#}", archive.display()));
        }
    }
    if failures == 0 { Ok(()) } else { bail!("{failures} of {} archives were not loaded", archives.len()) }
}

/// Is there anything to load?
pub(crate) fn is_wanted(engine: Engine) -> bool {
    !waiting(&engine.folder()).is_empty()
}

fn load(engine: Engine, archive: &Path) -> Result<()> {
    let output = Command::new("/usr/bin/docker")
        .args(["--host", &engine.socket(), "load", "--input"])
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("starting docker")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "));
    }
    print!("{}: {}", archive.display(), String::from_utf8_lossy(&output.stdout));
    write_atomic(&stamp(archive), b"", 0o644)
}

fn stamp(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(STAMP);
    PathBuf::from(name)
}

/// Archives without a stamp, and those that came after theirs; by name.
fn waiting(folder: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut archives: Vec<PathBuf> = items.map(|item| item.path()).filter(|path| is_waiting(path)).collect();
    archives.sort();
    archives
}

fn is_waiting(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.starts_with('.') || name.ends_with(STAMP) {
        return false;
    }
    let Ok(archive) = fs::metadata(path) else { return false };
    // One that keeps its own time when it is copied still is a new file.
    let changed = |of: &Metadata| (of.ctime(), of.ctime_nsec());
    archive.is_file() && fs::metadata(stamp(path)).map_or(true, |stamp| changed(&stamp) < changed(&archive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_loaded_once_and_a_newer_one_again() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("corral-preload-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub"))?;
        for name in ["b.tar", "a.tar.gz", ".partial", "old.tar.done"] {
            fs::write(folder.join(name), name)?;
        }
        let names = |folder: &Path| -> Vec<String> {
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            waiting(folder).iter().map(name).collect()
        };
        assert_eq!(names(&folder), ["a.tar.gz", "b.tar"]);
        fs::write(stamp(&folder.join("b.tar")), "")?;
        assert_eq!(names(&folder), ["a.tar.gz"]);
        fs::remove_file(folder.join("b.tar"))?;
        fs::write(folder.join("b.tar"), "newer")?;
        assert_eq!(names(&folder), ["a.tar.gz", "b.tar"]);
        assert!(waiting(&folder.join("nothing")).is_empty());
        fs::remove_dir_all(folder).map_err(Into::into)
    }
}
