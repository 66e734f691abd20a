//! `ros os upgrade` and related commands: a preflight check with numbers, the new version beside
//! the old one, and a boot on trial. The old version stays the default until the new one has passed
//! its trial (`trial`).

mod downgrade;
pub mod extras;
pub mod list;
mod plan;
mod room;
pub mod trial;

use crate::release::boot_partitions::BootPartitions;
use crate::release::drivers::{Choice, When, are_enabled};
use crate::release::source::Source;
use crate::release::{Release, copy, trust};
use crate::{power, warn_of_debug};
use anyhow::{Context, Result, bail};
use corral_machine::boot_partition::{Arguments, BootPartition, Stage, Trial, booted};
use corral_machine::os_release::running_version;
use corral_machine::{drivers, efi, program};
use corral_resolve::effective::load_config;
use corral_resolve::store;
use corral_terminal::duration;
use corral_terminal::prompt::confirm;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Release to upgrade to: a file, or the name of an image in a registry
    #[arg(short, long, value_name = "FILE|IMAGE")]
    image: Option<String>,
    /// Fetch and check the release, and change nothing
    #[arg(short, long)]
    stage: bool,
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
    pub force: bool,
    /// Do not restart afterwards: the next restart tries the new version
    #[arg(long)]
    no_reboot: bool,
    /// Start the new version by kexec, without the firmware
    #[arg(short, long)]
    pub kexec: bool,
    /// Kernel parameters to add, permanently
    #[arg(long, default_value = "", value_name = "PARAMETERS")]
    append: String,
    /// Take all drivers and firmware along (drivers.erofs); with the running version: add them
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    drivers: When,
    /// Recreate a persistent console with the new version
    #[arg(long)]
    upgrade_console: bool,
    /// Accept a release that is older than the running version
    #[arg(long)]
    downgrade: bool,
    /// Show what would change, and do nothing
    #[arg(long)]
    plan: bool,
    /// Accept a release whose signature is missing or unknown
    #[arg(long)]
    insecure: bool,
    /// How long the new version may take to pass its trial: 90s, 10m, 1h30m, or seconds
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_trial_time)]
    trial_time: Duration,
    /// A flag of RancherOS
    #[arg(long, hide = true)]
    debug: bool,
}

impl Options {
    /// To add drivers to the running version is no upgrade: these would be silently ignored.
    fn refuse_those_of_new_versions(&self) -> Result<()> {
        let given = [
            (!self.append.is_empty(), "--append", "`ros config syslinux` edits the parameters"),
            (self.kexec, "--kexec", "`ros reboot --kexec` restarts with the drivers afterwards"),
            (
                self.upgrade_console,
                "--upgrade-console",
                "`ros config set rancher.force_console_rebuild true` recreates the console",
            ),
        ];
        match given.into_iter().find(|(is_given, ..)| *is_given) {
            Some((_, flag, instead)) => bail!(
                "{flag} does not go with the release that runs, to which only drivers are added; \
                 {instead}. Nothing was changed"
            ),
            None => Ok(()),
        }
    }
}

fn parse_trial_time(text: &str) -> Result<Duration, String> {
    duration::parse_within(text, 30..=7200)
}

/// Runs the upgrade.
pub fn run(options: &Options) -> Result<()> {
    warn_of_debug(options.debug);
    let drivers = Choice::load(options.drivers, are_enabled(&load_config()?));
    let judge = |release: &Release| downgrade::judge(release, options.downgrade);
    let accept = |release: &Release| if options.plan { Ok(()) } else { judge(release)?.check() };
    let source = list::find(options.image.as_deref(), options.insecure, &drivers, accept)?;
    let mut release = source.release()?;
    trust(&release, options.insecure)?;
    drivers.apply(&mut release)?;
    let running = running_version();
    let verdict = judge(&release)?;
    let is_running = release.version == running;
    let of_drivers = match booted::partition() {
        Some(partition) if !is_running => {
            drivers.leave_out(&mut release, room::available(&partition)?, "the boot partition")
        }
        _ => None,
    };
    let of_drivers = of_drivers.unwrap_or_else(|| drivers.describe(&release));
    if options.plan {
        return plan::show(&source, &release, &of_drivers, verdict.line());
    }
    verdict.check()?;
    verdict.line().iter().for_each(|line| println!("{line}"));
    if is_running && options.drivers != When::Always {
        println!("Already at version {running}");
        return Ok(());
    }
    if is_running {
        options.refuse_those_of_new_versions()?;
    } else {
        of_drivers.iter().for_each(|line| println!("drivers: {line}"));
        println!("Upgrading from {running} to {}", release.version);
    }
    if options.stage {
        copy::check(&source, &release)?;
        println!("version {} is staged and intact; nothing was changed", release.version);
        return Ok(());
    }
    if is_running {
        return add_drivers(&source, &release, options.force);
    }
    start_trial(&source, &release, &drivers, options)
}

/// Installs the release beside the running version, and makes the next start try it.
fn start_trial(
    source: &Source,
    release: &Release,
    drivers: &Choice,
    options: &Options,
) -> Result<()> {
    let running = running_version();
    trial::refuse_changes()?;
    if options.upgrade_console {
        store::ensure_free()?;
    }
    if !options.force && !confirm("Continue")? {
        bail!("nothing was changed");
    }
    let boot = BootPartitions::lock()?;
    boot.iter().try_for_each(|partition| room::check(partition, release, drivers))?;
    install_beside(&boot, source, release, &options.append)?;
    arm(&boot, &release.version, options)?;
    if options.upgrade_console {
        store::set("rancher.force_console_rebuild", "true", None)?;
    }
    Source::forget_stage();
    if options.kexec {
        crate::kexec::load(boot.primary(), &release.version, "")?;
        drop(boot);
        return crate::kexec::start();
    }
    drop(boot);
    println!(
        "version {} is tried at the next start; {running} stays the default until the trial has \
         passed",
        release.version
    );
    if options.no_reboot || (!options.force && !confirm("Continue with reboot")?) {
        return Ok(());
    }
    power::request("reboot", &power::Options::default())
}

/// Writes the version to every boot partition, as a menu entry that is not the default.
fn install_beside(
    boot: &BootPartitions,
    source: &Source,
    release: &Release,
    append: &str,
) -> Result<()> {
    for partition in boot.iter() {
        // The previous trial ends here: its files may be among those that are removed now.
        partition.keep_trial(None)?;
        room::make(partition, release)?;
        let mut arguments = partition.load_arguments();
        add_parameters(&mut arguments, append);
        copy::write_version(partition, source, release, &arguments)?;
        let mut versions = partition.versions()?.without(&release.version);
        versions.others.insert(0, release.version.clone());
        partition.switch(&versions)?;
        if !append.is_empty() {
            partition.keep_arguments(&arguments)?;
        }
    }
    Ok(())
}

/// Adds the drivers of this very release to the running version.
fn add_drivers(source: &Source, release: &Release, is_confirmed: bool) -> Result<()> {
    trial::refuse_changes()?;
    let boot = BootPartitions::lock()?;
    let version = &release.version;
    for partition in boot.iter() {
        let installed = Source::Folder(partition.folder(version)).release()?;
        if installed.manifest != release.manifest {
            bail!(
                "this release and the one that runs are both called {version} but differ; the \
                 drivers must be those of the release that was installed. The small ISO may have \
                 a kernel of its own (`uname -r`: -corral), to which no drivers belong: the next \
                 version has them"
            );
        }
    }
    let lacking: Vec<&BootPartition> =
        boot.iter().filter(|partition| !copy::has_drivers(partition, release)).collect();
    if lacking.is_empty() {
        println!("version {version} has all drivers");
        return Ok(());
    }
    if !is_confirmed && !confirm("Add all drivers and firmware to the running version")? {
        bail!("nothing was changed");
    }
    lacking.into_iter().try_for_each(|partition| copy::add_drivers(partition, source, release))?;
    Source::forget_stage();
    println!("version {version} has all drivers from the next start on");
    Ok(())
}

/// Parameters that exist already are not added again.
fn add_parameters(arguments: &mut Arguments, more: &str) {
    for word in more.split_whitespace() {
        if !arguments.line.split_whitespace().any(|known| known == word) {
            arguments.line = format!("{} {word}", arguments.line).trim().to_owned();
        }
    }
}

/// Makes the next boot, and only that one, start the new version.
fn arm(boot: &BootPartitions, version: &str, options: &Options) -> Result<()> {
    for partition in boot.iter() {
        let trial = Trial {
            version: version.to_owned(),
            before: partition.versions()?.default,
            stage: Stage::Armed,
            deadline: u32::try_from(options.trial_time.as_secs())?,
            reason: String::new(),
        };
        partition.keep_trial(Some(&trial))?;
        if !options.kexec && !efi::is_here() {
            boot_once(partition, version)?;
        }
    }
    if !options.kexec && efi::is_here() {
        efi::boot_once(&format!("corral-{version}.conf")).context(
            "this firmware cannot boot an entry once; --kexec tries the new version without that",
        )?;
    }
    Ok(())
}

/// extlinux deletes the setting before it starts the entry.
fn boot_once(partition: &BootPartition, version: &str) -> Result<()> {
    let folder = partition.root().join("boot/syslinux");
    let mut extlinux = program::of_system("/usr/bin/extlinux");
    program::run(extlinux.arg(format!("--once={version}")).arg(&folder)).map(drop)
}

/// `ros os rollback`: the previous version is the default again.
pub fn rollback(to: Option<&str>) -> Result<()> {
    trial::refuse_changes()?;
    let boot = BootPartitions::lock()?;
    let versions = boot.primary().versions()?;
    let running = running_version();
    let candidates: Vec<&str> = versions.all().filter(|version| *version != running).collect();
    let wanted = match to {
        Some(version) if !candidates.contains(&version) => {
            bail!("version {version} is not on this machine; there are: {}", candidates.join(", "))
        }
        Some(version) => version.to_owned(),
        None => (*candidates
            .first()
            .context("there is no other version on this machine; `ros os upgrade` installs one")?)
        .to_owned(),
    };
    for partition in boot.iter() {
        let folder = partition.folder(&wanted);
        copy::verify(partition, &Source::Folder(folder).release()?)?;
    }
    if !boot.iter().all(|partition| partition.has_drivers(&wanted)) {
        for concerned in drivers::load_used().unwrap_or_default() {
            println!("{concerned}, which version {wanted} does not have here");
        }
    }
    for partition in boot.iter() {
        partition.keep_trial(None)?;
        partition.switch(&versions.with_default(&wanted))?;
    }
    println!("version {wanted} is the default from the next start on");
    Ok(())
}
