//! Stage 0, `/init` of the initrd: load the modules that find a disk, find the system image, make
//! it the root, and start PID 1's program from it. It knows nothing of configuration. It is a
//! separate binary so that `ros` is not shipped twice.

mod drivers;
mod in_memory;

use anyhow::{Context, Result, bail};
use corral_machine::block::{self, Volume};
use corral_machine::boot_partition::{
    self, AtBoot, BOOT_PARAMETER, BootPartition, Stage, VERSION_PARAMETER, booted,
};
use corral_machine::kmsg::{self, Level};
use corral_machine::modules::Index;
use corral_machine::mounts::{self, Mount};
use corral_machine::uevent::Uevents;
use corral_machine::{cmdline, power, switch_root, watchdog};
use rustix::mount::MountFlags;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a disk may take to appear.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Volume label of system.erofs on a bare device, and of our ISO: written by
/// `xtask/src/{erofs,iso}.rs`.
const IMAGE_LABEL: &str = "CORRAL_SYSTEM";
const MEDIUM_LABEL: &str = "CORRAL";
const MEDIUM: &str = "/medium";
const IMAGE: &str = "system.erofs";
/// What the checks of a trial have before the watchdog ends it.
const GRACE: u32 = 60;
const NEW_ROOT: &str = "/newroot";

fn main() {
    let Err(error) = start();
    kmsg::write(Level::Error, "stage0", &format!("{error:#}"));
    kmsg::write(Level::Error, "stage0", "cannot continue: the machine restarts in 30 seconds");
    let until = Instant::now() + Duration::from_secs(30);
    if let Ok(events) = Uevents::open() {
        while events.wait(until).unwrap_or(false) {}
    }
    let _ = power::reboot();
}

/// Never returns but with an error: at its end this process is the system's PID 1.
fn start() -> Result<std::convert::Infallible> {
    mounts::EARLY.iter().try_for_each(mounts::mount)?;
    let mut modules = Index::running()
        .or_else(|_| Index::open(Path::new("/usr/lib/modules")))
        .context("reading the index of the initrd's modules")?;
    for name in ["erofs", "overlay"] {
        modules.load(name)?;
    }
    mount_system(&mut modules)?;
    keep_medium()?;
    let line = cmdline::load().unwrap_or_default();
    drivers::add(Path::new(NEW_ROOT), cmdline::value(&line, VERSION_PARAMETER));
    switch_root::switch(Path::new(NEW_ROOT))?;
    let error = Command::new("/usr/bin/ros").arg0("init").env_clear().exec();
    Err(error).context("starting /usr/bin/ros")
}

/// Finds the system image, as soon as the device with it is there.
fn mount_system(modules: &mut Index) -> Result<()> {
    if let Some(image) = in_memory::find(IMAGE)? {
        return mount_image(&image.to_string_lossy());
    }
    let line = cmdline::load().unwrap_or_default();
    let (boot, version) =
        (cmdline::value(&line, BOOT_PARAMETER), cmdline::value(&line, VERSION_PARAMETER));
    let events = Uevents::open()?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        for failure in modules.load_for_devices(|_| true) {
            kmsg::write(Level::Warning, "stage0", &failure);
        }
        let volumes = block::load_volumes();
        if let Some(boot) = boot {
            if let (Some(volume), Some(version)) = (find_boot(&volumes, boot), version) {
                mount_medium(volume, modules)?;
                note_trial(version, modules);
                return mount_version(version);
            }
        } else if let Some(volume) = labelled(&volumes, IMAGE_LABEL) {
            return mount_image(&volume.device.to_string_lossy());
        } else if let (Some(volume), Some(version)) = (labelled(&volumes, MEDIUM_LABEL), version) {
            mount_medium(volume, modules)?;
            return mount_version(version);
        }
        if !events.wait(deadline)? {
            bail!(no_system(boot, &volumes));
        }
    }
}

fn labelled<'a>(volumes: &'a [Volume], label: &str) -> Option<&'a Volume> {
    volumes.iter().find(|volume| volume.system.label == label)
}

/// The boot partition that the menu named. Disks of a mirror have copies of it; any will do.
fn find_boot<'a>(volumes: &'a [Volume], reference: &str) -> Option<&'a Volume> {
    let devices = boot_partition::find(Some(reference));
    volumes.iter().find(|volume| devices.contains(&volume.device))
}

fn mount_version(version: &str) -> Result<()> {
    mount_image(&BootPartition::at(Path::new(MEDIUM)).folder(version).join(IMAGE).to_string_lossy())
}

/// What this boot means for an upgrade on trial. A trial boots under a watchdog that restarts the
/// machine if anything hangs. The firmware's menu has the version before as its default.
fn note_trial(version: &str, modules: &mut Index) {
    let partition = BootPartition::at(Path::new(MEDIUM));
    let (trial, begins) = match partition.trial_at_boot(version) {
        AtBoot::Nothing => return,
        AtBoot::Over => (None, false),
        AtBoot::Keep(trial) => {
            let begins = trial.stage == Stage::Trying;
            (Some(trial), begins)
        }
    };
    let kept = mounts::remount(Path::new(MEDIUM), false)
        .and_then(|()| partition.keep_trial(trial.as_ref()))
        .and_then(|()| mounts::remount(Path::new(MEDIUM), true));
    if let Err(error) = kept {
        kmsg::write(Level::Error, "stage0", &format!("storing the state of the trial: {error:#}"));
    }
    if let Some(trial) = trial.filter(|_| begins) {
        let seconds = trial.deadline.saturating_add(GRACE);
        kmsg::write(
            Level::Info,
            "stage0",
            &format!("version {version} is on trial: its checks have {} s", trial.deadline),
        );
        if let Err(error) = watchdog::start(modules, seconds) {
            kmsg::write(Level::Error, "stage0", &format!("no watchdog for the trial: {error:#}"));
        }
    }
}

fn no_system(boot: Option<&str>, volumes: &[Volume]) -> String {
    let seen: Vec<String> = volumes
        .iter()
        .map(|volume| {
            format!(
                "{} ({} {:?})",
                volume.device.display(),
                volume.system.kind,
                volume.system.label
            )
        })
        .collect();
    let wanted = match boot {
        Some(boot) => format!("no device matches {boot}"),
        None => format!("no device is labelled {IMAGE_LABEL} or {MEDIUM_LABEL}"),
    };
    format!(
        "no system image after {} s: {wanted}; seen: {}",
        TIMEOUT.as_secs(),
        if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
    )
}

fn mount_medium(volume: &Volume, modules: &mut Index) -> Result<()> {
    let needed: &[&str] = match volume.system.kind {
        "iso9660" => &["isofs"],
        // The kernel would call modprobe for the tables of FAT's names, and there is none here.
        "vfat" => &["nls_cp437", "nls_ascii", "vfat"],
        other => &[other],
    };
    needed.iter().try_for_each(|module| modules.load(module))?;
    mounts::mount(&Mount {
        source: &volume.device.to_string_lossy(),
        target: MEDIUM,
        kind: volume.system.kind,
        flags: MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })
}

/// Mounts a device or a file with the image; the kernel reads a file without a loop device in
/// between.
fn mount_image(source: &str) -> Result<()> {
    let image =
        Mount { source, target: NEW_ROOT, kind: "erofs", flags: MountFlags::RDONLY, data: "" };
    mounts::mount(&image)
}

/// The medium stays mounted below /run, where the installer and the updates find it.
fn keep_medium() -> Result<()> {
    let run = Mount {
        source: "run",
        target: "/newroot/run",
        kind: "tmpfs",
        flags: MountFlags::NOSUID | MountFlags::NODEV,
        data: "mode=0755",
    };
    mounts::mount(&run)?;
    if mounts::is_mount_point(Path::new(MEDIUM)) {
        let target = format!("{NEW_ROOT}{}", booted::MEDIUM);
        std::fs::create_dir_all(&target)?;
        mounts::move_to(Path::new(MEDIUM), Path::new(&target))?;
    }
    Ok(())
}
