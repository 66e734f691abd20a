//! Stage 0, `/init` of the initrd: load the modules that find a disk, find the system image, make it the root, and
//! start PID 1's program from it. Knows nothing of configuration; a separate binary so that `ros` is not shipped twice.

use anyhow::{Context, Result, bail};
use corral_machine::block::{self, Volume};
use corral_machine::kmsg::{self, Level};
use corral_machine::modules::Index;
use corral_machine::mounts::{self, Mount};
use corral_machine::uevent::Uevents;
use corral_machine::{power, switch_root};
use rustix::mount::MountFlags;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a disk may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);
/// Volume label of system.erofs on a bare device, and of our ISO: written by `xtask/src/{erofs,iso}.rs`.
const IMAGE_LABEL: &str = "CORRAL_SYSTEM";
const MEDIUM_LABEL: &str = "CORRAL";
/// Where the image is on a medium, and in the initramfs when it came with a second archive (PXE).
const IMAGE_ON_MEDIUM: &str = "/medium/boot/system.erofs";
const IMAGE_IN_MEMORY: &str = "/system.erofs";
const NEW_ROOT: &str = "/newroot";

fn main() {
    let Err(error) = start();
    kmsg::write(Level::Error, "stage0", &format!("{error:#}"));
    kmsg::write(Level::Error, "stage0", "cannot go on: the machine restarts in 30 seconds");
    let until = Instant::now() + Duration::from_secs(30);
    if let Ok(events) = Uevents::open() {
        while events.wait(until).unwrap_or(false) {}
    }
    let _ = power::Power::Reboot.act();
}

/// Never returns but with an error: at its end this process is the system's PID 1.
fn start() -> Result<std::convert::Infallible> {
    mounts::EARLY.iter().try_for_each(mounts::mount)?;
    let mut modules = Index::open(Path::new("/lib/modules"))
        .or_else(|_| Index::open(Path::new("/usr/lib/modules")))
        .context("reading the index of the initrd's modules")?;
    for name in ["erofs", "overlay"] {
        modules.load(name)?;
    }
    mount_system(&mut modules)?;
    keep_medium()?;
    switch_root::switch(Path::new(NEW_ROOT))?;
    let error = Command::new("/usr/bin/ros").arg0("init").env_clear().exec();
    Err(error).context("starting /usr/bin/ros")
}

/// Finds the system image, as soon as the device with it is there.
fn mount_system(modules: &mut Index) -> Result<()> {
    if Path::new(IMAGE_IN_MEMORY).exists() {
        return mount_image(IMAGE_IN_MEMORY);
    }
    let events = Uevents::open()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        for failure in modules.load_for_devices(|_| true) {
            kmsg::write(Level::Warning, "stage0", &failure);
        }
        let volumes = block::load_volumes();
        if let Some(volume) = volumes.iter().find(|volume| volume.system.label == IMAGE_LABEL) {
            return mount_image(&volume.device.to_string_lossy());
        }
        if let Some(volume) = volumes.iter().find(|volume| volume.system.label == MEDIUM_LABEL) {
            mount_medium(volume, modules)?;
            return mount_image(IMAGE_ON_MEDIUM);
        }
        if !events.wait(deadline)? {
            bail!(no_system(&volumes));
        }
    }
}

fn no_system(volumes: &[Volume]) -> String {
    let seen: Vec<String> = volumes
        .iter()
        .map(|volume| {
            format!("{} ({} {:?})", volume.device.display(), volume.system.kind, volume.system.label)
        })
        .collect();
    format!(
        "no system image after {} s: no device is labelled {IMAGE_LABEL} or {MEDIUM_LABEL}; seen: {}",
        PATIENCE.as_secs(),
        if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
    )
}

fn mount_medium(volume: &Volume, modules: &mut Index) -> Result<()> {
    let module = if volume.system.kind == "iso9660" { "isofs" } else { volume.system.kind };
    modules.load(module)?;
    mounts::mount(&Mount {
        source: &volume.device.to_string_lossy(),
        target: "/medium",
        kind: volume.system.kind,
        flags: MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })
}

/// Mounts a device or a file with the image; the kernel reads a file without a loop device in between.
fn mount_image(source: &str) -> Result<()> {
    let image = Mount { source, target: NEW_ROOT, kind: "erofs", flags: MountFlags::RDONLY, data: "" };
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
    if mounts::is_mount_point(Path::new("/medium")) {
        let target = Path::new("/newroot/run/corral/medium");
        std::fs::create_dir_all(target)?;
        mounts::move_to(Path::new("/medium"), target)?;
    }
    Ok(())
}
