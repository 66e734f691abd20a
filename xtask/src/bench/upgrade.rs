//! `cargo xtask bench upgrade`: how long a machine is away. Measured from `ros os upgrade` until
//! the new version answers on ssh, with a restart and with kexec. A plain Debian's `reboot` is
//! measured in the same run.

use super::median::median;
use crate::debian::Debian;
use crate::{accel, image, setup, variants};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use vmtest::{Accelerator, Image, Machine, Medium, Options as Vm, drive, folder, shell};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs to take the median of
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// kvm or tcg
    #[arg(long)]
    accel: Option<String>,
}

/// Seconds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Until the command has returned: the new version is written and read back, and the restart
    /// begins.
    command_took: f64,
    /// From then to a login.
    away: f64,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::need_root("Debian, which is compared with, is made in a chroot")?;
    setup::install()?;
    let ingredients = image::gather(&image::Options::default())?;
    image::write(&ingredients, &image::Options::default())?;
    variants::prepare(&ingredients)?;
    let debian = Debian::prepare()?;
    let accelerator = accel::choose(options.accel.as_deref(), &Image::find()?)?;
    let _in_use = ingredients.building.done()?;
    let place = folder("bench-upgrade")?;
    let installed = install(&place, accelerator)?;
    let rows: [(&str, &dyn Fn() -> Result<Sample>); 3] = [
        ("ros os upgrade, restart by the firmware", &|| {
            upgrade(&place, &installed, "", accelerator)
        }),
        ("ros os upgrade --kexec", &|| upgrade(&place, &installed, "--kexec", accelerator)),
        ("Debian: reboot", &|| reboot_debian(&debian, &place, accelerator)),
    ];
    println!("{:<42} {:>12} {:>18} {:>8}", "seconds", "the command", "then to a login", "all");
    for (name, measure) in rows {
        let samples = (0..options.runs).map(|_| measure()).collect::<Result<Vec<Sample>>>()?;
        let of_all = |of: fn(&Sample) -> f64| median(samples.iter().map(of).collect());
        println!(
            "{name:<42} {:>12.1} {:>18.1} {:>8.1}",
            of_all(|sample| sample.command_took),
            of_all(|sample| sample.away),
            of_all(|sample| sample.command_took + sample.away)
        );
    }
    println!(
        "({accelerator:?}, medians of {}, light image, 211 MB written from a stick)",
        options.runs
    );
    Ok(())
}

/// A disk with the running version on it.
fn install(folder: &Path, accelerator: Accelerator) -> Result<PathBuf> {
    let disk = folder.join("installed.img");
    drive::blank(&disk, 4096)?;
    let key = shell::make_key(folder)?;
    let text = format!("#cloud-config\nssh_authorized_keys:\n  - {key}\n");
    let config_drive = Some(drive::make(folder, drive::Kind::ConfigDriveIso, text.as_bytes())?);
    let options = Vm {
        medium: Medium::Iso,
        disks: vec![disk.clone()],
        config_drive,
        accelerator,
        ..Vm::default()
    };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    // The installer keeps the keys of the running system.
    machine.run("sudo ros install -d /dev/vda -a console=ttyS0 --no-reboot -f")?;
    let _ = machine.run("sudo poweroff");
    machine.expect_end()?;
    Ok(disk)
}

fn upgrade(folder: &Path, installed: &Path, how: &str, accelerator: Accelerator) -> Result<Sample> {
    let disk = folder.join("disk.img");
    let copied = Command::new("cp").arg("--sparse=always").arg(installed).arg(&disk).status()?;
    anyhow::ensure!(copied.success(), "copying the installed disk: {copied}");
    let sticks = vec![Image::find()?.releases.join("next.oci.tar")];
    let options =
        Vm { medium: Medium::Disk, disks: vec![disk], sticks, accelerator, ..Vm::default() };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    let sample = restart(&mut machine, &format!("sudo ros os upgrade -i /dev/vdb --force {how}"))?;
    let version = machine.run("ros os version")?;
    anyhow::ensure!(
        version.starts_with("v0.9.0"),
        "it did not come up with the new version: {version}"
    );
    Ok(sample)
}

fn reboot_debian(debian: &Debian, folder: &Path, accelerator: Accelerator) -> Result<Sample> {
    let disk = folder.join("debian.img");
    debian.write_disk(&shell::make_key(folder)?, &disk)?;
    let mut extra = vec!["-kernel".into(), debian.kernel.clone().into_os_string()];
    extra.extend(["-initrd".into(), debian.initrd.clone().into_os_string()]);
    extra.extend(["-append".into(), "root=/dev/vda console=ttyS0 quiet".into()]);
    let options =
        Vm { medium: Medium::Disk, disks: vec![disk], extra, accelerator, ..Vm::default() };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    restart(&mut machine, "sudo reboot")
}

/// Runs a command that restarts the machine at its end.
fn restart(machine: &mut Machine, command: &str) -> Result<Sample> {
    let boot_id =
        machine.run("cat /proc/sys/kernel/random/boot_id").context("before the restart")?;
    let begin = Instant::now();
    // It returns when the connection is lost.
    let _ = machine.run(command);
    let command_took = begin.elapsed().as_secs_f64();
    machine.expect_next_boot(&boot_id)?;
    Ok(Sample { command_took, away: begin.elapsed().as_secs_f64() - command_took })
}
