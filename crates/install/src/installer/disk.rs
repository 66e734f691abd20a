//! Disks: which there are, what is on them, and whether they are in use.

use anyhow::{Context, Result, bail};
use corral_machine::{block, docker_machine, mount_table};
use corral_terminal::size;
use rustix::fs::FlockOperation;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A complete disk that is not in use.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) model: String,
    /// Its current content, in words.
    pub(super) content: Vec<String>,
}

impl Disk {
    /// Examines a disk; one that is in use is rejected.
    pub(super) fn open(device: &Path) -> Result<Disk> {
        let path = fs::canonicalize(device).with_context(|| {
            format!("{}: no such disk; there are: {}", device.display(), describe_all())
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sys = Path::new("/sys/class/block").join(&name);
        if !sys.exists() {
            bail!("{} is not a block device; there are: {}", device.display(), describe_all());
        }
        if sys.join("partition").exists() {
            bail!(
                "{} is a partition: name its disk, or install with -t noformat",
                device.display()
            );
        }
        if read(&sys.join("ro")) == "1" {
            bail!(
                "{} is read-only; choose another one by -d; there are: {}",
                device.display(),
                describe_all()
            );
        }
        let size = read(&sys.join("size")).parse::<u64>().unwrap_or(0) * 512;
        let disk = Disk {
            content: describe_content(&path),
            path,
            size,
            model: read(&sys.join("device/model")),
        };
        match disk.user() {
            Some(user) => bail!(in_use(&disk.path, &user, is_of_docker_machine(&disk.path))),
            None => Ok(disk),
        }
    }

    /// Locks the disk as long as the result exists. udev reads a partition table again after any
    /// write to its disk. The partitions then disappear for a moment, unless the disk is locked
    /// like this.
    pub(super) fn claim(&self) -> Result<File> {
        let taken = File::open(&self.path).and_then(|disk| {
            rustix::fs::flock(&disk, FlockOperation::LockExclusive)?;
            Ok(disk)
        });
        taken.with_context(|| format!("locking {}", self.path.display()))
    }

    /// What uses the disk or a part of it: mounts in any container, swap, and devices on top of it.
    fn user(&self) -> Option<String> {
        let parts = parts(&self.path);
        for device in &parts {
            let name = device.file_name()?.to_string_lossy().into_owned();
            let holders = fs::read_dir(Path::new("/sys/class/block").join(&name).join("holders"));
            if let Some(holder) = holders.into_iter().flatten().flatten().next() {
                let holder = holder.file_name().to_string_lossy().into_owned();
                return Some(format!("{} is part of {holder}", device.display()));
            }
            let number = fs::metadata(device).ok()?.rdev();
            let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
            if let Some(place) = mounted_at(&number) {
                return Some(format!("{} is mounted on {place}", device.display()));
            }
        }
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        let swap = parts
            .iter()
            .find(|part| swaps.lines().any(|line| line.split(' ').next() == part.to_str()));
        swap.map(|part| format!("{} is swap", part.display()))
    }
}

/// An existing disk, whether or not it may be used.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    size: u64,
    model: String,
}

impl fmt::Display for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} ({}{}{})",
            self.path.display(),
            size::of_disk(self.size),
            separator(&self.model),
            self.model
        )
    }
}

fn separator(model: &str) -> &str {
    if model.is_empty() { "" } else { ", " }
}

/// All disks of this machine.
pub(super) fn candidates() -> Vec<Candidate> {
    let sys = Path::new("/sys/class/block");
    let candidate = |path: PathBuf| {
        let folder = sys.join(path.file_name()?);
        let is_disk = !folder.join("partition").exists() && folder.join("device").exists();
        let size = read(&folder.join("size")).parse::<u64>().unwrap_or(0) * 512;
        (is_disk && read(&folder.join("ro")) != "1").then(|| Candidate {
            path,
            size,
            model: read(&folder.join("device/model")),
        })
    };
    block::load_devices().into_iter().filter_map(candidate).collect()
}

/// All disks in one line, for a user who did not name one.
pub(super) fn describe_all() -> String {
    candidates().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The disk and its partitions.
fn parts(disk: &Path) -> Vec<PathBuf> {
    let name = disk.file_name().unwrap_or_default();
    let items =
        fs::read_dir(Path::new("/sys/class/block").join(name)).into_iter().flatten().flatten();
    let children = items.filter(|item| item.path().join("partition").exists());
    let children = children.map(|item| Path::new("/dev").join(item.file_name()));
    Some(disk.to_path_buf()).into_iter().chain(children).collect()
}

/// The ISO takes a disk of Docker Machine for its state, without the owner's request.
fn in_use(disk: &Path, user: &str, is_of_docker_machine: bool) -> String {
    let more = if is_of_docker_machine {
        "; it is a disk of Docker Machine, which the ISO leaves alone if it is started with the \
         kernel parameter rancher.state.docker_machine=false"
    } else {
        ""
    };
    let disk = disk.display();
    format!(
        "{disk} is in use: {user}; nothing was changed; free it, or choose another one by -d{more}"
    )
}

fn is_of_docker_machine(disk: &Path) -> bool {
    block::load_file_system(disk)
        .is_ok_and(|system| system.is_some_and(|system| system.label == docker_machine::LABEL))
}

/// Where a device (`major:minor`) is mounted, in any process.
fn mounted_at(number: &str) -> Option<String> {
    let items = fs::read_dir("/proc").ok()?.flatten();
    let tables = items.filter_map(|item| fs::read_to_string(item.path().join("mountinfo")).ok());
    let mut mounts = tables.flat_map(|table| mount_table::parse(&table));
    let mount = mounts.find(|mount| mount.device == number)?;
    Some(mount.target.display().to_string())
}

fn describe_content(disk: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for device in parts(disk) {
        if let Ok(Some(system)) = block::load_file_system(&device) {
            let label = if system.label.is_empty() {
                String::new()
            } else {
                format!(" {:?}", system.label)
            };
            lines.push(format!("{}: {}{label}", device.display(), system.kind));
        }
    }
    lines
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_the_iso_took_names_the_parameter() {
        const PARAMETER: &str = "rancher.state.docker_machine=false";
        let text = |is_its| in_use(Path::new("/dev/sda"), "/dev/sda is mounted on /home", is_its);
        assert!(text(true).contains(PARAMETER), "{}", text(true));
        assert!(!text(false).contains(PARAMETER), "{}", text(false));
    }
}
