//! Disks: what is on them, whether they are in use, and the two partitions that an installation makes.
//!
//! Partition 1 is the state, as it always was in this family, though it lies behind partition 2, which is booted: the
//! state can grow with the disk.

use super::kind::Kind;
use anyhow::{Context, Result, bail};
use corral_machine::boot_partition::LABEL;
use corral_machine::mounts::{self, Mount};
use corral_machine::{block, modules};
use rustix::mount::MountFlags;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STATE_LABEL: &str = "RANCHER_STATE";
const MIB: u64 = 1 << 20;
/// Room for two versions and the next one, where there is room.
const BOOT_SIZE: u64 = 1024 * MIB;
const SMALL_BOOT_SIZE: u64 = 512 * MIB;
const SMALL_DISK: u64 = 8 << 30;
const SMALLEST_STATE: u64 = 512 * MIB;
/// ESP, and what BIOS machines with GPT have instead.
const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const BASIC_DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

/// A whole disk that nobody uses.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    size: u64,
    model: String,
    /// What is on it now, in words.
    content: Vec<String>,
}

/// What an installation is going to use.
#[derive(Debug)]
pub(super) enum Target {
    Disk { disk: Disk, layout: Layout },
    Existing(Partitions),
}

/// Sizes of the two partitions, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    boot: u64,
}

/// The partitions of an installation.
#[derive(Debug, Clone)]
pub(super) struct Partitions {
    pub(super) boot: PathBuf,
    pub(super) state: PathBuf,
}

impl Disk {
    /// Looks at a disk; one that is in use is refused.
    pub(super) fn open(device: &Path) -> Result<Disk> {
        let path = fs::canonicalize(device)
            .with_context(|| format!("{}: no such disk; there are: {}", device.display(), describe_all()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sys = Path::new("/sys/class/block").join(&name);
        if !sys.exists() {
            bail!("{} is no block device; there are: {}", device.display(), describe_all());
        }
        if sys.join("partition").exists() {
            bail!("{} is a partition: name the whole disk, or install with -t noformat", device.display());
        }
        if read(&sys.join("ro")) == "1" {
            bail!("{} is read-only", device.display());
        }
        let size = read(&sys.join("size")).parse::<u64>().unwrap_or(0) * 512;
        let disk =
            Disk { content: describe_content(&path), path, size, model: read(&sys.join("device/model")) };
        match disk.user() {
            Some(user) => bail!("{} is in use: {user}; nothing was changed", disk.path.display()),
            None => Ok(disk),
        }
    }

    /// Who uses the disk or a part of it: mounts in whatever container, swap, and what is built on top of it.
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
        let swap =
            parts.iter().find(|part| swaps.lines().any(|line| line.split(' ').next() == part.to_str()));
        swap.map(|part| format!("{} is swap", part.display()))
    }
}

impl Target {
    /// A whole disk, if it is large enough.
    pub(super) fn disk(disk: Disk, release: u64) -> Result<Target> {
        let boot = if disk.size >= SMALL_DISK { BOOT_SIZE } else { SMALL_BOOT_SIZE };
        let boot = boot.max((release * 2 + 32 * MIB).next_multiple_of(MIB));
        if disk.size < boot + SMALLEST_STATE {
            bail!(
                "{} is too small: it has {}, and {} are needed",
                disk.path.display(),
                megabytes(disk.size),
                megabytes(boot + SMALLEST_STATE)
            );
        }
        Ok(Target::Disk { disk, layout: Layout { boot } })
    }

    /// Partitions that their owner made.
    pub(super) fn existing(boot: Option<&Path>) -> Result<Target> {
        let one = |label: &str, found: Vec<PathBuf>| match found.as_slice() {
            [device] => Ok(device.clone()),
            [] => bail!("-t noformat: no partition is labelled {label}: make one, and a file system on it"),
            several => bail!("-t noformat: {label} is on several: {several:?}"),
        };
        let boot = match boot {
            Some(boot) => boot.to_path_buf(),
            None => one(LABEL, block::resolve(&format!("LABEL={LABEL}")))?,
        };
        match block::load_file_system(&boot)? {
            Some(system) if system.kind == "vfat" => {}
            found => bail!(
                "-t noformat: {} holds {}; the firmware needs a FAT file system (mkfs.fat -F 32 -n {LABEL})",
                boot.display(),
                found.map_or("nothing", |system| system.kind)
            ),
        }
        let state = one(STATE_LABEL, block::resolve(&format!("LABEL={STATE_LABEL}")))?;
        Ok(Target::Existing(Partitions { boot, state }))
    }

    /// Where the partitions are, or will be.
    pub(super) fn partitions(&self) -> Partitions {
        match self {
            Target::Disk { disk, .. } => partitions(&disk.path),
            Target::Existing(partitions) => partitions.clone(),
        }
    }

    /// Lines for the owner to agree to.
    pub(super) fn describe(&self) -> Vec<String> {
        let partitions = self.partitions();
        match self {
            Target::Existing(_) => vec![
                format!("boot       {}", partitions.boot.display()),
                format!("state      {} (what is on it stays)", partitions.state.display()),
            ],
            Target::Disk { disk, layout } => {
                let mut lines = vec![format!("disk       {} {}", megabytes(disk.size), disk.model)];
                lines.extend(disk.content.iter().map(|content| format!("erased     {content}")));
                lines.push(format!(
                    "boot       {} {} (FAT)",
                    partitions.boot.display(),
                    megabytes(layout.boot)
                ));
                let state = disk.size.saturating_sub(layout.boot);
                lines.push(format!("state      {} {} (ext4)", partitions.state.display(), megabytes(state)));
                lines
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Disk { disk, .. } => write!(out, "{}", disk.path.display()),
            Target::Existing(partitions) => write!(out, "{}", partitions.boot.display()),
        }
    }
}

/// Makes the two partitions.
pub(super) fn partition(disk: &Disk, layout: &Layout, kind: Kind) -> Result<()> {
    let Partitions { boot, state } = partitions(&disk.path);
    let (boot, state, size) = (boot.display(), state.display(), layout.boot / MIB);
    let script = if kind.has_gpt() {
        let boot_type = if kind.has_uefi() { ESP } else { BASIC_DATA };
        let bios = if kind.has_bios() { ", attrs=LegacyBIOSBootable" } else { "" };
        format!(
            "label: gpt\n{boot}: size={size}MiB, type={boot_type}, name={LABEL}{bios}\n{state}: type={LINUX}, name={STATE_LABEL}\n"
        )
    } else {
        format!("label: dos\n{boot}: size={size}MiB, type=c, bootable\n{state}: type=83\n")
    };
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    sfdisk.args(["--quiet", "--wipe", "always", "--wipe-partitions", "always"]).arg(&disk.path);
    feed(sfdisk, &script).with_context(|| format!("partitioning {}", disk.path.display()))
}

/// Makes the two file systems.
pub(super) fn format(disk: &Disk) -> Result<Partitions> {
    let partitions = partitions(&disk.path);
    for device in [&partitions.boot, &partitions.state] {
        if !device.exists() {
            bail!("{} did not appear after partitioning", device.display());
        }
    }
    println!("formatting {} and {}", partitions.boot.display(), partitions.state.display());
    succeed(Command::new("/usr/sbin/mkfs.fat").args(["-F", "32", "-n", LABEL]).arg(&partitions.boot))?;
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    // Images of containers are many small files: twice as many inodes as usual.
    succeed(mkfs.args(["-q", "-F", "-i", "8192", "-L", STATE_LABEL]).arg(&partitions.state))?;
    Ok(partitions)
}

/// Mounts the state to be written to.
pub(super) fn mount_state(device: &Path, target: &Path) -> Result<()> {
    let kind = block::load_file_system(device)?.map_or("ext4", |system| system.kind);
    modules::Index::open(Path::new("/lib/modules"))?.load(kind)?;
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: &target.to_string_lossy(),
        kind,
        flags: MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })
}

/// The UUID of what is on a partition.
pub(super) fn uuid(device: &Path) -> Result<String> {
    let system = block::load_file_system(device)?;
    system.map(|system| system.uuid).with_context(|| format!("{} has no file system", device.display()))
}

/// Disks that there are, for people who did not name one.
pub(super) fn describe_all() -> String {
    let sys = Path::new("/sys/class/block");
    let is_disk = |device: &PathBuf| {
        let folder = sys.join(device.file_name().unwrap_or_default());
        !folder.join("partition").exists() && folder.join("device").exists()
    };
    let disks = block::load_devices().into_iter().filter(is_disk).map(|device| {
        let folder = sys.join(device.file_name().unwrap_or_default());
        let size = read(&folder.join("size")).parse::<u64>().unwrap_or(0) * 512;
        format!("{} ({})", device.display(), megabytes(size))
    });
    disks.collect::<Vec<_>>().join(", ")
}

fn partitions(disk: &Path) -> Partitions {
    Partitions { boot: block::numbered(disk, 2), state: block::numbered(disk, 1) }
}

/// The disk and its partitions.
fn parts(disk: &Path) -> Vec<PathBuf> {
    let name = disk.file_name().unwrap_or_default();
    let items = fs::read_dir(Path::new("/sys/class/block").join(name)).into_iter().flatten().flatten();
    let children = items.filter(|item| item.path().join("partition").exists());
    let children = children.map(|item| Path::new("/dev").join(item.file_name()));
    Some(disk.to_path_buf()).into_iter().chain(children).collect()
}

/// Where a device (`major:minor`) is mounted, in any process.
fn mounted_at(number: &str) -> Option<String> {
    let items = fs::read_dir("/proc").ok()?.flatten();
    let tables = items.filter_map(|item| fs::read_to_string(item.path().join("mountinfo")).ok());
    let mut tables = tables;
    tables.find_map(|table| {
        let line = table.lines().find(|line| line.split(' ').nth(2) == Some(number))?;
        line.split(' ').nth(4).map(str::to_owned)
    })
}

fn describe_content(disk: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for device in parts(disk) {
        if let Ok(Some(system)) = block::load_file_system(&device) {
            let label = if system.label.is_empty() { String::new() } else { format!(" {:?}", system.label) };
            lines.push(format!("{}: {}{label}", device.display(), system.kind));
        }
    }
    lines
}

fn megabytes(bytes: u64) -> String {
    if bytes >= 10_000_000_000 {
        format!("{:.1} GB", bytes as f64 / 1e9)
    } else {
        format!("{:.0} MB", bytes as f64 / 1e6)
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn feed(mut command: Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim())
}

/// Runs a tool; what it says counts only if it fails.
pub(super) fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {:?}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim())
}
