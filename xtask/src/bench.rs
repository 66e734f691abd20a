//! `cargo xtask bench`: the size of the image, how long it takes until it is usable, and how much
//! memory it needs. `cargo xtask bench engine`: the engine beside its peers.
//! `cargo xtask bench upgrade`: how long an upgrade takes a machine away. `cargo xtask bench size`:
//! what each part of the image weighs. All times are medians, measured here and now, and never
//! asserted.

mod engine;
mod median;
mod size;
mod upgrade;

use crate::lock::InUse;
use crate::test_kernel::{self, Availability};
use crate::{accel, image, setup, uml_image};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use median::median;
use std::fs;
use std::path::Path;
use std::time::Instant;
use vmtest::folder;
use vmtest::{Accelerator, Image, Kind, Machine, Options as Vm, drive, shell};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to measure, if not the boot
    #[command(subcommand)]
    what: Option<What>,
    /// Boots to take the median of
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measure the dense image that is released
    #[arg(long)]
    release: bool,
    /// kvm or tcg
    #[arg(long)]
    accel: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Containers created, run and removed, beside crun, runc, podman and dockerd; on this machine
    /// and in a guest
    Engine(engine::Options),
    /// What each part of the image that is released weighs, and which grew since the last release
    Size(size::Options),
    /// How long an upgrade takes a machine away, beside a plain Debian's reboot
    Upgrade(upgrade::Options),
}

/// One boot. Times in seconds since the machine was switched on, sizes in KiB.
#[derive(Debug, Clone, Copy)]
struct Sample {
    pid_1: f64,
    ssh: f64,
    docker: f64,
    /// Neither free nor cache.
    memory: f64,
    /// Memory that a new program could not get at once, including the kernel's own reserve.
    unavailable: f64,
    pid_1_rss: f64,
}

/// What is measured, from a sample, in which unit, and the goals for it.
type Row = (&'static str, fn(&Sample) -> f64, &'static str, &'static str);

/// Measures what is asked for.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.what {
        Some(What::Engine(options)) => engine::run(options),
        Some(What::Size(options)) => size::run(options),
        Some(What::Upgrade(options)) => upgrade::run(options),
        None => boots(options),
    }
}

/// Builds, boots several times, prints.
fn boots(options: &Options) -> Result<()> {
    let (image, accelerator, has_uml, _in_use) = build(options)?;
    let (mut samples, mut uml_samples) = (Vec::new(), Vec::new());
    for number in 1..=options.runs {
        let sample = measure(accelerator, Kind::Qemu)?;
        eprintln!("boot {number}: {sample:?}");
        samples.push(sample);
        if has_uml {
            uml_samples.push(measure(accelerator, Kind::Uml)?);
        }
    }
    println!("{:<46} {:>12}   goal: first, aim", "what", "measured");
    for (name, path) in
        [("kernel", &image.kernel), ("initrd", &image.initrd), ("system.erofs", &image.system)]
    {
        println!("{name:<46} {:>9.2} MB", megabytes(path));
    }
    println!("{:<46} {:>9.2} MB   105, 59", "ISO with Docker inside", megabytes(&image.iso));
    let rows: [Row; 6] = [
        ("QEMU start to PID 1", |sample| sample.pid_1, "s ", "6, 4.5"),
        ("QEMU start to login by ssh", |sample| sample.ssh, "s ", "18, 10"),
        ("QEMU start to docker info", |sample| sample.docker, "s ", "32, 25"),
        (
            "memory used when idle, everything running",
            |sample| sample.memory / 1024.0,
            "MiB",
            "160, 120",
        ),
        ("the same as total less available", |sample| sample.unavailable / 1024.0, "MiB", "-"),
        ("PID 1, resident", |sample| sample.pid_1_rss / 1024.0, "MiB", "12, 6"),
    ];
    for (name, value, unit, goal) in rows {
        let median = median(samples.iter().map(value).collect());
        println!("{name:<46} {median:>9.2} {unit}   {goal}");
    }
    let test_rows: [Row; 3] = [
        ("test machine (User-Mode Linux) to PID 1", |sample| sample.pid_1, "s ", "0.5"),
        ("test machine to login by ssh", |sample| sample.ssh, "s ", "5"),
        ("test machine to docker info", |sample| sample.docker, "s ", "10"),
    ];
    for (name, value, unit, goal) in test_rows.into_iter().filter(|_| !uml_samples.is_empty()) {
        let median = median(uml_samples.iter().map(value).collect());
        println!("{name:<46} {median:>9.2} {unit}   {goal}");
    }
    println!(
        "({accelerator:?}, median of {}, {} image)",
        options.runs,
        if options.release { "release" } else { "light" }
    );
    Ok(())
}

/// The image, how QEMU runs it, whether there is one for User-Mode Linux, and the lock that keeps
/// them as they are.
fn build(options: &Options) -> Result<(Image, Accelerator, bool, InUse)> {
    setup::install()?;
    let wanted = image::Options { release: options.release, ..image::Options::default() };
    let ingredients = image::gather(&wanted)?;
    image::write(&ingredients, &wanted)?;
    let has_uml = match test_kernel::prepare()? {
        Availability::Kernel(kernel) => uml_image::prepare(&ingredients, &kernel).map(|()| true)?,
        Availability::Unavailable(why) => {
            eprintln!("nothing is measured under User-Mode Linux: {why:#}");
            false
        }
    };
    let accelerator = accel::choose(options.accel.as_deref(), &Image::find()?)?;
    // Only now all of its files are there.
    let image = Image::find()?;
    Ok((image, accelerator, has_uml, ingredients.building.done()?))
}

fn measure(accelerator: Accelerator, kind: Kind) -> Result<Sample> {
    let folder = folder("bench")?;
    let key = shell::make_key(&folder)?;
    let text = format!("#cloud-config\nssh_authorized_keys:\n  - {key}\n");
    let config_drive = Some(drive::make(&folder, drive::Kind::ConfigDriveIso, text.as_bytes())?);
    let begin = Instant::now();
    let needs_qemu = kind == Kind::Qemu;
    let vm = Vm { config_drive, accelerator, needs_qemu, ..Vm::default() };
    let mut machine = Machine::start(&folder, vm)?;
    machine.expect_console("corral: PID 1 of ")?;
    let pid_1 = begin.elapsed().as_secs_f64();
    machine.expect_login()?;
    let ssh = begin.elapsed().as_secs_f64();
    machine.expect_docker()?;
    machine.run("docker info > /dev/null")?;
    let docker = begin.elapsed().as_secs_f64();
    machine.expect(
        "[ \"$(sudo system-docker inspect --format '{{.State.Status}}' udev-cold)\" = exited ]",
    )?;
    let number = |script: &str| -> Result<f64> { machine.run(script)?.parse().context("a number") };
    let fields = |end: &str| {
        format!("awk '{{v[$1]=$2}} END {{print v[\"MemTotal:\"] - {end}}}' /proc/meminfo")
    };
    let memory = number(&fields(
        "v[\"MemFree:\"] - v[\"Cached:\"] - v[\"Buffers:\"] - v[\"SReclaimable:\"]",
    ))?;
    let unavailable = number(&fields("v[\"MemAvailable:\"]"))?;
    let pid_1_rss = number("awk '/^VmRSS/ {print $2}' /proc/1/status")?;
    machine.check_alarms()?;
    Ok(Sample { pid_1, ssh, docker, memory, unavailable, pid_1_rss })
}

fn megabytes(path: &Path) -> f64 {
    fs::metadata(path).map_or(f64::NAN, |data| data.len() as f64 / 1e6)
}
