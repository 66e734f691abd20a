//! What an installation uses and creates: two partitions on a disk, the same on each disk of a
//! mirror, or partitions that their owner made.
//!
//! Partition 1 is the state, as in RancherOS, though it lies behind partition 2, the boot
//! partition: the state can grow with the disk. The disks of a mirror have identical boot
//! partitions, and their states form one array.

use super::disk::Disk;
use super::encryption::Encryption;
use super::kind::Kind;
use crate::luks::Opened;
use anyhow::{Context, Result, bail};
use corral_machine::boot_partition::LABEL;
use corral_machine::mounts::{self, Mount};
use corral_machine::{block, modules, program};
use corral_terminal::size;
use rustix::mount::MountFlags;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const STATE_LABEL: &str = "RANCHER_STATE";
const MIB: u64 = 1 << 20;
/// Room for two versions and the next one, if the disk is large enough.
const BOOT_SIZE: u64 = 1024 * MIB;
const SMALL_BOOT_SIZE: u64 = 512 * MIB;
const SMALL_DISK: u64 = 8 << 30;
const SMALLEST_STATE: u64 = 512 * MIB;
/// Partition types: ESP, and what is used instead on BIOS machines with GPT.
const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const BASIC_DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const RAID: &str = "A19D880F-05FC-4D3B-A006-743F0F84911E";

/// The disks or partitions of an installation.
#[derive(Debug)]
pub(super) enum Target {
    /// One disk, or the disks of a mirror.
    Disks {
        disks: Vec<Disk>,
        boot_size: u64,
    },
    Existing {
        boot: PathBuf,
        state: PathBuf,
    },
}

/// The partitions of an installation.
#[derive(Debug)]
pub(super) struct Partitions {
    /// One on each disk, with the same content.
    pub(super) boot: Vec<PathBuf>,
    pub(super) state: PathBuf,
    /// The encrypted container of the state; it is open as long as this exists.
    pub(super) container: Option<(PathBuf, Opened)>,
}

impl Target {
    /// Complete disks, if they are large enough.
    pub(super) fn disks(disks: Vec<Disk>, release: u64) -> Result<Target> {
        if let Some(twice) = disks
            .iter()
            .enumerate()
            .find_map(|(at, disk)| disks[..at].iter().find(|other| other.path == disk.path))
        {
            bail!("-d: {} is named twice; a mirror needs two disks", twice.path.display());
        }
        let smallest = disks.iter().map(|disk| disk.size).min().unwrap_or(0);
        let boot_size = boot_size(smallest, release);
        let needed = boot_size + SMALLEST_STATE;
        if let Some(disk) = disks.iter().find(|disk| disk.size < needed) {
            bail!(
                "{} is too small: it has {}, and {} are needed",
                disk.path.display(),
                size::of_disk(disk.size),
                size::of_disk(needed)
            );
        }
        Ok(Target::Disks { disks, boot_size })
    }

    /// Partitions that their owner made.
    pub(super) fn existing(boot: Option<&Path>, state: Option<&Path>) -> Result<Target> {
        let one = |label: &str, found: Vec<PathBuf>| match found.as_slice() {
            [device] => Ok(device.clone()),
            [] => bail!(
                "-t noformat: no partition is labelled {label}; create one, with a file system"
            ),
            several => bail!(
                "-t noformat: several partitions are labelled {label}: {several:?}; name one by -d"
            ),
        };
        let named = |label: &str, device: Option<&Path>| match device {
            Some(device) => Ok(device.to_path_buf()),
            None => one(label, block::resolve(&format!("LABEL={label}"))),
        };
        let (boot, state) = (named(LABEL, boot)?, named(STATE_LABEL, state)?);
        match block::load_file_system(&boot)? {
            Some(system) if system.kind == "vfat" => {}
            found => bail!(
                "-t noformat: {} holds {}; the firmware needs a FAT file system (mkfs.fat -F 32 -n \
                 {LABEL})",
                boot.display(),
                found.map_or("nothing", |system| system.kind)
            ),
        }
        if block::load_file_system(&state)?.is_none() {
            bail!(
                "-t noformat: {} has no file system for the state; create one (mkfs.ext4 -L \
                 {STATE_LABEL})",
                state.display()
            );
        }
        Ok(Target::Existing { boot, state })
    }

    /// The disks that get a boot record.
    pub(super) fn boot_disks(&self) -> &[Disk] {
        match self {
            Target::Disks { disks, .. } => disks,
            Target::Existing { .. } => &[],
        }
    }

    /// Creates the partitions and their file systems, unless they are the owner's.
    pub(super) fn prepare(
        &self,
        kind: Kind,
        encryption: Option<&Encryption>,
    ) -> Result<Partitions> {
        match self {
            Target::Existing { boot, state } => {
                Ok(Partitions { boot: vec![boot.clone()], state: state.clone(), container: None })
            }
            Target::Disks { disks, boot_size } => {
                for disk in disks {
                    println!("partitioning {}", disk.path.display());
                    partition(disk, *boot_size, kind)?;
                }
                format(disks, encryption)
            }
        }
    }

    /// Lines for the owner to confirm.
    pub(super) fn describe(&self) -> Vec<String> {
        match self {
            Target::Existing { boot, state } => vec![
                format!("boot       {}", boot.display()),
                format!("state      {} (what is on it stays)", state.display()),
            ],
            Target::Disks { disks, boot_size } => disks
                .iter()
                .flat_map(|disk| describe_disk(disk, *boot_size, disks.len() > 1))
                .collect(),
        }
    }
}

/// The size of the boot partition of a disk, for releases of this size.
pub(super) fn boot_size(disk: u64, release: u64) -> u64 {
    let size = if disk >= SMALL_DISK { BOOT_SIZE } else { SMALL_BOOT_SIZE };
    size.max((release * 2 + 32 * MIB).next_multiple_of(MIB))
}

fn describe_disk(disk: &Disk, boot_size: u64, mirrored: bool) -> Vec<String> {
    let mut lines = vec![format!(
        "disk       {} {} {}",
        disk.path.display(),
        size::of_disk(disk.size),
        disk.model
    )];
    lines.extend(disk.content.iter().map(|content| format!("erased     {content}")));
    let (boot, state) = (boot_of(&disk.path), state_of(&disk.path));
    let kind = if mirrored { "ext4, mirrored" } else { "ext4" };
    lines.push(format!("boot       {} {} (FAT)", boot.display(), size::of_disk(boot_size)));
    let rest = size::of_disk(disk.size.saturating_sub(boot_size));
    lines.push(format!("state      {} {rest} ({kind})", state.display()));
    lines
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Disks { disks, .. } => {
                let paths: Vec<PathBuf> = disks.iter().map(|disk| disk.path.clone()).collect();
                write!(out, "{}", names(&paths))
            }
            Target::Existing { boot, .. } => write!(out, "{}", boot.display()),
        }
    }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn boot_of(disk: &Path) -> PathBuf {
    block::numbered(disk, 2)
}

fn state_of(disk: &Path) -> PathBuf {
    block::numbered(disk, 1)
}

/// Makes the two partitions of a disk.
fn partition(disk: &Disk, boot_size: u64, kind: Kind) -> Result<()> {
    let (boot, state, size) = (boot_of(&disk.path), state_of(&disk.path), boot_size / MIB);
    let (boot, state) = (boot.display(), state.display());
    let script = if kind.has_gpt() {
        let boot_type = if kind.has_uefi() { ESP } else { BASIC_DATA };
        let state_type = if kind == Kind::Raid { RAID } else { LINUX };
        let bios = if kind.has_bios() { ", attrs=LegacyBIOSBootable" } else { "" };
        format!(
            "label: gpt\n\
             {boot}: size={size}MiB, type={boot_type}, name={LABEL}{bios}\n\
             {state}: type={state_type}, name={STATE_LABEL}\n"
        )
    } else {
        format!("label: dos\n{boot}: size={size}MiB, type=c, bootable\n{state}: type=83\n")
    };
    let mut sfdisk = program::of_system("/usr/sbin/sfdisk");
    sfdisk.args(["--quiet", "--wipe", "always", "--wipe-partitions", "always"]).arg(&disk.path);
    let partitioning = || format!("partitioning {}", disk.path.display());
    program::feed(&mut sfdisk, script.as_bytes()).map(drop).with_context(partitioning)
}

/// Creates the file systems. The boot partitions of a mirror share one serial number: the machine
/// may boot from any of them.
fn format(disks: &[Disk], encryption: Option<&Encryption>) -> Result<Partitions> {
    let boot: Vec<PathBuf> = disks.iter().map(|disk| boot_of(&disk.path)).collect();
    let states: Vec<PathBuf> = disks.iter().map(|disk| state_of(&disk.path)).collect();
    if let Some(missing) = boot.iter().chain(&states).find(|device| !device.exists()) {
        bail!("{} did not appear after partitioning", missing.display());
    }
    let serial: String = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .context("choosing a serial number")?
        .chars()
        .take(8)
        .collect();
    println!("formatting {} and {}", names(&boot), names(&states));
    for device in &boot {
        program::run(
            program::of_system("/usr/sbin/mkfs.fat")
                .args(["-F", "32", "-n", LABEL, "-i", &serial])
                .arg(device),
        )?;
    }
    let state = match states.as_slice() {
        [one] => one.clone(),
        several => mirror(several)?,
    };
    let container = match encryption {
        Some(encryption) => Some((state.clone(), encryption.apply(&state)?)),
        None => None,
    };
    let state = container.as_ref().map_or(state, |(_, opened)| opened.device.clone());
    let mut mkfs = program::of_system("/usr/sbin/mkfs.ext4");
    // Container images are many small files: twice as many inodes as usual.
    program::run(mkfs.args(["-q", "-F", "-i", "8192", "-L", STATE_LABEL]).arg(&state))?;
    Ok(Partitions { boot, state, container })
}

/// Creates one array of several partitions. It can be used at once, while the kernel still syncs
/// it.
fn mirror(devices: &[PathBuf]) -> Result<PathBuf> {
    modules::load(&["raid1"])?;
    let free = (0..=127).rev().map(|number| PathBuf::from(format!("/dev/md{number}")));
    let mut free = free.filter(|device| !device.exists());
    let array = free.next().context("there are too many arrays")?;
    let mut mdadm = program::of_system("/usr/sbin/mdadm");
    mdadm.arg("--create").arg(&array).args([
        "--run",
        "--level=1",
        "--metadata=1.2",
        "--homehost=any",
    ]);
    mdadm.args(["--name=RANCHER_STATE", &format!("--raid-devices={}", devices.len())]);
    program::run(mdadm.args(devices)).context("creating the mirror")?;
    Ok(array)
}

/// Mounts the state for writing.
pub(super) fn mount_state(device: &Path, target: &Path) -> Result<()> {
    let kind = block::load_file_system(device)?.map_or("ext4", |system| system.kind);
    modules::load(&[kind])?;
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: &target.to_string_lossy(),
        kind,
        flags: MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })
}

/// The UUID of the file system on a partition.
pub(super) fn uuid(device: &Path) -> Result<String> {
    let system = block::load_file_system(device)?;
    system
        .map(|system| system.uuid)
        .with_context(|| format!("{} has no file system", device.display()))
}
