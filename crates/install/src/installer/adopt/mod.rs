//! `ros install --adopt`: takes over a disk on which RancherOS or BurmillaOS is installed. What is
//! on their partition stays where it is, and Corral uses it. A boot partition is added at the end
//! of the disk, with Corral and a copy of the old kernel and initrd. See
//! docs/decisions/0019-a-rancheros-disk-is-adopted-beside-the-old-system.md.
//!
//! Each step leaves a disk that starts one of the two systems, except for shrinking the file
//! system. An adoption that was cut off is completed by the same command.

mod boot;
mod configuration;
mod difference;
mod docker;
mod file_system;
mod inside;
mod old_system;
mod report;
mod survey;
mod table;
mod way_back;

use super::disk::{self, Disk};
use super::kind::{Kind, PARAMETERS};
use super::mounted::{on_boot, on_state, read_state};
use super::options::Options;
use super::{loader, target};
use crate::power;
use crate::release::drivers::Choice;
use crate::release::source::Source;
use crate::release::{Release, copy, trust};
use crate::system_docker;
use anyhow::{Context, Result, bail, ensure};
use boot::Sizes;
use configuration::BEFORE;
use corral_machine::block::{self, FileSystem};
use corral_machine::boot_partition::{Arguments, BOOT_PARAMETER, BootPartition, LABEL, Versions};
use corral_machine::os_release::running_version;
use corral_machine::program;
use corral_terminal::prompt::confirm;
use corral_terminal::size;
use old_system::OldSystem;
use report::PowerLoss::{Harmless, MayLoseData, Repeat};
use report::{Boot, Report, State, Step};
use semver::Version;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use survey::Survey;
use table::{Room, Sector, Table};

const STATE_LABEL: &str = "RANCHER_STATE";
/// BIOS starts these disks from an MBR, and Corral as well.
const KIND: Kind = Kind::Generic;
const KEPT: [&str; 5] = [
    "/home, /opt, /var/log",
    "/var/lib/rancher: the configuration, ssh host keys, preloaded images",
    "/var/lib/docker: images, containers, volumes and networks of your Docker",
    "/etc/docker: daemon.json, certificates",
    "/boot, /usr-*, /var/lib/system-docker: what the old system needs; Corral's engine has \
     /var/lib/system-docker.corral",
];

/// What is going to be done. Nothing has been written when it is ready.
#[derive(Debug)]
struct Adoption {
    disk: Disk,
    table: Table,
    room: Room,
    state: PathBuf,
    boot: PathBuf,
    /// The folder of the state on its partition; empty for all of it.
    directory: String,
    source: Source,
    release: Release,
    drivers: Choice,
    /// The owner's kernel parameters: those of the old system, and `--append`.
    parameters: String,
}

/// What is read from the partition of the old system.
#[derive(Debug)]
struct Old {
    system: OldSystem,
    directory: String,
    survey: Survey,
    /// Bytes: free on its partition after the configuration was copied, and of its kernel and
    /// initrd.
    free: u64,
    size: u64,
}

/// Adopts a disk; with `--plan`, shows how.
pub(super) fn run(options: &Options) -> Result<()> {
    if !options.plan && !options.output.is_text() {
        bail!("--format is for --adopt --plan");
    }
    let (adoption, report) = plan(options)?;
    options.output.print(&report, Report::print)?;
    if options.plan {
        if options.output.is_text() {
            println!("nothing was changed");
        }
        return Ok(());
    }
    if report.logins.is_empty() && !options.access.no_login {
        bail!(
            "no way to log in is known; nothing was changed; add a key in the old system (ros \
             config set ssh_authorized_keys \"[KEY]\"), or adopt with --no-login"
        );
    }
    if !options.force && !confirm("Continue")? {
        bail!("nothing was changed");
    }
    adoption.act()?;
    println!("Corral {} is installed on {}", report.version, report.disk.display());
    println!("{} is still in the boot menu", report.system);
    if options.no_reboot || (!options.force && !confirm("Continue with reboot")?) {
        return Ok(());
    }
    power::request("reboot", &power::Options::default())
}

/// Checks everything before the disk is written.
fn plan(options: &Options) -> Result<(Adoption, Report)> {
    let source = match &options.image {
        Some(file) => Source::open(file)?,
        None => Source::running()?,
    };
    let mut release = source.release()?;
    trust(&release, options.insecure)?;
    check_age(&release.version, &running_version())?;
    system_docker::ensure_kept(&release, "the disk")
        .context("this release adopts no disk, the running version does; nothing was changed")?;
    let disk = match options.device.as_slice() {
        [device] => Disk::open(device)?,
        [] => bail!("which disk? -d DISK; there are: {}", disk::describe_all()),
        _ => bail!("-d: one disk is adopted at a time; name one"),
    };
    let not_adopted = || format!("{} cannot be adopted; nothing was changed", disk.path.display());
    let table = read_table(&disk).with_context(not_adopted)?;
    let (state, boot) = (block::numbered(&disk.path, 1), block::numbered(&disk.path, 2));
    let system = check_state(&state).with_context(not_adopted)?;
    boot::check(&table, &boot).with_context(not_adopted)?;
    let append = options.append.trim();
    let old = read_state(&state, |root| Old::load(root, append)).with_context(not_adopted)?;
    let drivers = Choice::load(options.drivers, old.survey.has_extras);
    drivers.apply(&mut release)?;
    let sizes = Sizes {
        disk: disk.size,
        state: system.size,
        free: old.free,
        release: release.size(),
        old: old.size,
    };
    let room = boot::find_room(&table, sizes).with_context(not_adopted)?;
    let parameters = join(&old.system.owners_parameters(), append);
    let directory = old.directory.clone();
    let adoption = Adoption {
        disk,
        table,
        room,
        state,
        boot,
        directory,
        source,
        release,
        drivers,
        parameters,
    };
    let report = adoption.report(old, &system);
    Ok((adoption, report))
}

fn join(parameters: &str, more: &str) -> String {
    format!("{parameters} {more}").trim().to_owned()
}

impl Old {
    fn load(root: &Path, append: &str) -> Result<Old> {
        let system = OldSystem::load(root)?;
        let directory = system.directory()?;
        let parameters = join(&system.owners_parameters(), append);
        let base = inside::find(root, &directory)?;
        let survey = Survey::load(&base, &system, &parameters)?;
        let data = rustix::fs::statvfs(root).context("reading the free space")?;
        // Without what ext4 keeps for root: services of both systems cannot use that.
        let available = data.f_bavail * data.f_frsize;
        let free = available.saturating_sub(configuration::measure(&base)?);
        let size = way_back::size(&system, root)?;
        Ok(Old { system, directory, survey, free, size })
    }
}

fn read_table(disk: &Disk) -> Result<Table> {
    let name = disk.path.file_name().unwrap_or_default();
    let sys = Path::new("/sys/class/block").join(name).join("queue/logical_block_size");
    let sector = fs::read_to_string(&sys).unwrap_or_default();
    ensure!(
        sector.trim().parse() == Ok(table::SECTOR),
        "its sectors have {} bytes; RancherOS starts from disks with sectors of {} bytes",
        sector.trim(),
        table::SECTOR
    );
    Table::parse(&block::load_start(&disk.path, table::SECTOR as usize)?)
}

/// The partition of the old system, from outside.
fn check_state(device: &Path) -> Result<FileSystem> {
    let system = block::load_file_system(device)?
        .with_context(|| format!("{} has no file system", device.display()))?;
    ensure!(
        system.kind == "ext4" && system.label == STATE_LABEL,
        "{} is {} labelled {:?}; RancherOS has ext4 labelled {STATE_LABEL} there",
        device.display(),
        system.kind,
        system.label
    );
    Ok(system)
}

/// A release from before Corral left System Docker's folder alone would remove its containers.
fn check_age(release: &str, running: &str) -> Result<()> {
    let parse = |text: &str| {
        Version::parse(text).with_context(|| format!("comparing the versions: {text:?}"))
    };
    if release == running {
        return Ok(());
    }
    ensure!(
        parse(release)?.cmp_precedence(&parse(running)?).is_ge(),
        "version {release} is older than {running}, which is running: a disk is adopted with the \
         running version or a newer one; nothing was changed"
    );
    Ok(())
}

impl Adoption {
    fn report(&self, old: Old, system: &FileSystem) -> Report {
        let Survey { differences, ways, docker, volumes, .. } = old.survey;
        let logins = if ways.ways.is_empty() { Vec::new() } else { ways.describe() };
        let logins = logins.iter().map(|line| line.trim_start_matches("log in").trim().to_owned());
        Report {
            disk: self.disk.path.clone(),
            size: self.disk.size,
            version: self.release.version.clone(),
            state: State {
                device: self.state.clone(),
                size: self.table.state.bytes(),
                new_size: self.room.state.bytes(),
                free: old.free,
                clean: !system.dirty,
            },
            boot: Boot { device: self.boot.clone(), size: self.room.boot.bytes() },
            drivers: self.drivers.describe(&self.release),
            kept: KEPT.to_vec(),
            docker,
            volumes,
            differences,
            logins: logins.collect(),
            parameters: without_password(&self.parameters),
            steps: self.steps(),
            way_back: self.way_back(&old.system),
            system: old.system.title,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let step = |what: String, power_loss| Step { what, power_loss };
        let (state, boot) = (self.state.display(), self.boot.display());
        let mut steps = Vec::new();
        if !self.table.starts_boot() {
            steps.push(step(format!("check the file system of {state} (e2fsck)"), Harmless));
            if self.room.shrinks {
                let bytes = size::of_disk(self.room.state.bytes());
                let what = format!("shrink the file system of {state} to {bytes} (resize2fs)");
                steps.push(step(what, MayLoseData));
            }
            // Where the boot partition goes, the old loader may have been before the shrink.
            let what = format!("create {boot} with a copy of the old system, and start it there");
            steps.push(step(what, if self.room.shrinks { Repeat } else { Harmless }));
        }
        steps.push(step(format!("copy the configuration to /{BEFORE}"), Harmless));
        let version = &self.release.version;
        let what = format!("write Corral {version} to {boot}; it becomes the default");
        steps.push(step(what, Harmless));
        steps
    }

    fn way_back(&self, system: &OldSystem) -> Vec<String> {
        let mut lines = vec![
            format!(
                "the entry \"{}\" of the boot menu starts the old kernel with its own parameters",
                way_back::title(system)
            ),
            format!("/{BEFORE} has the configuration as it is now"),
        ];
        if self.room.shrinks {
            lines.push(
                "make a snapshot or a backup of the disk first: it is the only way back from a \
                 power loss while the file system is shrunk"
                    .to_owned(),
            );
        }
        lines
    }

    /// The steps, in order.
    fn act(&self) -> Result<()> {
        let _claim = self.disk.claim()?;
        if self.table.starts_boot() {
            // It repairs what an adoption left that was cut off; other errors show below.
            let mut fsck = program::of_system("/usr/sbin/fsck.fat");
            let _ = program::run(fsck.arg("-a").arg(&self.boot));
        } else {
            self.start_old_system_by_boot()?;
        }
        on_state(&self.state, |root| configuration::keep(&inside::find(root, &self.directory)?))?;
        let arguments = self.arguments()?;
        on_boot(&self.boot, |partition| self.write_version(partition, &arguments))
    }

    /// The steps up to the one after which the boot partition starts the old system.
    fn start_old_system_by_boot(&self) -> Result<()> {
        file_system::check(&self.state)?;
        if self.room.shrinks {
            file_system::shrink(&self.state, self.room.state.bytes())?;
        }
        if self.table.boot.is_none() {
            boot::clear(&self.disk.path, self.room.boot)?;
        }
        self.write_table(&self.table.with_boot(self.room)?)?;
        self.make_boot()?;
        let table = read_table(&self.disk)?;
        self.write_table(&table.starting_boot(&loader::boot_code(KIND)?)?)
    }

    /// Writes the first sector, and has the kernel read its partitions.
    fn write_table(&self, sector: &Sector) -> Result<()> {
        let disk = &self.disk.path;
        let writing = || format!("writing the partition table of {}", disk.display());
        let device = OpenOptions::new().write(true).open(disk).with_context(writing)?;
        device.write_all_at(sector, 0).and_then(|()| device.sync_all()).with_context(writing)?;
        program::run(program::of_system("/usr/bin/partx").arg("--update").arg(disk))
            .map(drop)
            .with_context(writing)
    }

    /// The boot partition, with the old system as its only entry.
    fn make_boot(&self) -> Result<()> {
        let boot = self.boot.display();
        ensure!(self.boot.exists(), "{boot} did not appear after partitioning");
        println!("formatting {boot}");
        let mut mkfs = program::of_system("/usr/sbin/mkfs.fat");
        program::run(mkfs.args(["-F", "32", "-n", LABEL]).arg(&self.boot))?;
        read_state(&self.state, |root| {
            let system = OldSystem::load(root)?;
            on_boot(&self.boot, |partition| {
                way_back::write(partition, &system, root)?;
                loader::install(partition, KIND, Some(way_back::ENTRY))
            })
        })
    }

    fn arguments(&self) -> Result<Arguments> {
        let line = format!(
            "{} {PARAMETERS} {BOOT_PARAMETER}=UUID={} rancher.state.dev=UUID={} {}",
            KIND.consoles(),
            target::uuid(&self.boot)?,
            target::uuid(&self.state)?,
            self.parameters
        );
        Ok(Arguments { line: line.trim_end().to_owned() })
    }

    /// Corral beside the old system. The last write makes it the default.
    fn write_version(&self, partition: &BootPartition, arguments: &Arguments) -> Result<()> {
        // An adoption with another release may have been cut off.
        for version in partition.folders()? {
            partition.clear(&version)?;
        }
        copy::write_version(partition, &self.source, &self.release, arguments)?;
        partition.keep_trial(None)?;
        partition.keep_arguments(arguments)?;
        let default = self.release.version.clone();
        partition.switch(&Versions { default, others: Vec::new() })
    }
}

fn without_password(parameters: &str) -> String {
    let word = |word: &str| match word.split_once("password=") {
        Some((key, _)) => format!("{key}password=…"),
        None => word.to_owned(),
    };
    parameters.split_whitespace().map(word).collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_release_is_refused() {
        for (release, running, accepted) in [
            ("0.1.0", "0.1.0", true),
            ("0.10.0", "0.9.0", true),
            ("0.9.0", "0.10.0", false),
            ("1.0.0-rc.1", "1.0.0", false),
            ("1.0.0+build.1", "1.0.0+build.2", true),
            ("nightly", "nightly", true),
            ("nightly", "1.0.0", false),
        ] {
            assert_eq!(check_age(release, running).is_ok(), accepted, "{release} {running}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = without_password("console=ttyS0 rancher.password=rancher quiet");
        assert_eq!(shown, "console=ttyS0 rancher.password=… quiet");
    }
}
