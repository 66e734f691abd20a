//! `ros install`: everything is checked and shown before the first byte is written; then the steps
//! run, in order.

mod access;
mod adopt;
mod disk;
mod document;
mod encryption;
pub mod keys;
mod kind;
mod loader;
pub mod login;
mod mounted;
mod network;
pub mod options;
pub mod password;
mod target;
mod user_config;
mod wizard;

use crate::release::copy;
use crate::release::drivers::Choice;
use crate::release::source::Source;
use crate::release::{Release, trust};
use crate::{power, system_docker, warn_of_debug};
use anyhow::{Context, Result, bail};
use corral_machine::boot_partition::{Arguments, BOOT_PARAMETER, BootPartition, Versions};
use corral_terminal::prompt::confirm;
use disk::Disk;
use document::Document;
use encryption::Encryption;
use kind::{Kind, PARAMETERS};
use mounted::{on_boot, on_state};
use options::Options;
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use target::{Partitions, Target};
use user_config::{Draft, UserConfig};

/// What is going to be done. Nothing has been written when the plan is ready.
#[derive(Debug)]
struct Plan {
    kind: Kind,
    target: Target,
    source: Source,
    release: Release,
    drivers: Choice,
    /// The name of its document.
    document: Option<String>,
    user_config: UserConfig,
    encryption: Option<Encryption>,
    append: String,
    statedir: String,
}

/// Installs.
pub fn run(options: &Options) -> Result<()> {
    warn_of_debug(options.debug);
    if options.adopt {
        return adopt::run(options);
    }
    if options.plan || !options.output.is_text() {
        bail!("--plan and --format are for --adopt; without -f, every installation shows its plan");
    }
    let answered;
    let (options, document) = if options.device.is_empty()
        && options.install_type != Kind::Noformat
        && std::io::stdin().is_terminal()
    {
        let (filled_in, document) = wizard::fill_in(options)?;
        answered = filled_in;
        (&answered, document)
    } else {
        (options, None)
    };
    let plan = plan(options, document)?;
    plan.describe();
    if !options.force && !confirm("Continue")? {
        bail!("nothing was changed");
    }
    let partitions = plan.act()?;
    println!("Corral {} is installed on {}", plan.release.version, plan.target);
    plan.encryption.iter().for_each(Encryption::print_recovery_key);
    if options.kexec {
        return start_by_kexec(&plan, &partitions);
    }
    if options.no_reboot || (!options.force && !confirm("Continue with reboot")?) {
        return Ok(());
    }
    power::request("reboot", &power::Options::default())
}

/// Checks everything before the disk is written. A document that the dialogue has read is not read
/// again.
fn plan(options: &Options, document: Option<Document>) -> Result<Plan> {
    let kind = options.install_type.supported()?;
    if !options.statedir.is_empty() && kind != Kind::Noformat {
        bail!("--statedir is for -t noformat only: a disk of its own needs no folder");
    }
    let source = match &options.image {
        Some(file) => Source::open(file)?,
        None => Source::running()?,
    };
    let mut release = source.release()?;
    trust(&release, options.insecure)?;
    let document = match (document, &options.cloud_config) {
        (None, Some(from)) => Some(Document::load(from)?),
        (document, _) => document,
    };
    let is_enabled = document.as_ref().is_some_and(Document::enables_extras);
    let drivers = Choice::load(options.drivers, is_enabled);
    drivers.apply(&mut release)?;
    let target = target(kind, options, release.size())?;
    let append = options.append.trim().to_owned();
    let user_config =
        UserConfig::prepare(&options.access, &Draft::new(document.as_ref(), &append))?;
    let encryption = Encryption::plan(&options.encrypt)?;
    let document = document.map(|document| document.name);
    let statedir = options.statedir.clone();
    Ok(Plan {
        kind,
        target,
        source,
        release,
        drivers,
        document,
        user_config,
        encryption,
        append,
        statedir,
    })
}

fn target(kind: Kind, options: &Options, size: u64) -> Result<Target> {
    if kind == Kind::Noformat && !options.encrypt.is_empty() {
        bail!(
            "--encrypt: -t noformat uses your partitions as they are; create a LUKS container, \
             open it, and name the opened device by -d"
        );
    }
    match (kind, options.device.as_slice()) {
        (Kind::Noformat, devices) => {
            Target::existing(options.partition.as_deref(), devices.first().map(PathBuf::as_path))
        }
        (_, []) => bail!("which disk? -d DISK; there are: {}", disk::describe_all()),
        (Kind::Raid, [_]) => bail!("-t raid: a mirror needs two disks: -d DISK,DISK"),
        (Kind::Raid, devices) | (_, devices @ [_]) => {
            let disks =
                devices.iter().map(|device| Disk::open(device)).collect::<Result<Vec<Disk>>>()?;
            Target::disks(disks, size)
        }
        _ => bail!("-d: several disks are for -t raid only; name one"),
    }
}

impl Plan {
    fn describe(&self) {
        println!("Installing Corral {} to {}", self.release.version, self.target);
        println!("  type       {}", self.kind.about());
        self.target.describe().iter().for_each(|line| println!("  {line}"));
        let drivers = self.drivers.describe(&self.release);
        drivers.iter().for_each(|line| println!("  drivers    {line}"));
        if let Some(encryption) = &self.encryption {
            println!("  encryption {}", encryption.describe());
        }
        println!("  config     {}", self.document.as_deref().unwrap_or("none"));
        self.user_config.lines.iter().for_each(|line| println!("  {line}"));
        if !self.append.is_empty() {
            println!("  parameters {}", self.append);
        }
    }

    /// The steps, in order.
    fn act(&self) -> Result<Partitions> {
        let disks = self.target.boot_disks();
        let _claims = disks.iter().map(Disk::claim).collect::<Result<Vec<File>>>()?;
        let partitions = self.target.prepare(self.kind, self.encryption.as_ref())?;
        let arguments = self.arguments(&partitions)?;
        partitions.boot.iter().try_for_each(|device| {
            on_boot(device, |partition| self.check_boot(partition, device))
        })?;
        if self.kind == Kind::Noformat {
            on_state(&partitions.state, |root| self.check_state(root, &partitions.state))?;
        }
        // First the state, then what makes the disk bootable: no machine may ever start without the
        // configuration that lets its owner log in.
        self.write_state(&partitions.state)?;
        for device in &partitions.boot {
            on_boot(device, |partition| self.write_boot(partition, &arguments))?;
        }
        for disk in disks {
            loader::write_boot_record(disk, self.kind)?;
        }
        Ok(partitions)
    }

    /// An existing partition may already have this version.
    fn check_boot(&self, partition: &BootPartition, device: &Path) -> Result<()> {
        if partition.is_installed()
            && partition.versions()?.all().any(|version| version == self.release.version)
        {
            bail!(
                "version {} is on {} already; `ros os list` shows the versions there",
                self.release.version,
                device.display()
            );
        }
        Ok(())
    }

    /// An existing state may have System Docker of RancherOS.
    fn check_state(&self, root: &Path, device: &Path) -> Result<()> {
        if system_docker::is_on(&self.base(root))? {
            system_docker::ensure_kept(&self.release, &device.display().to_string()).context(
                "this release is not for this state, the running version is; nothing was changed",
            )?;
        }
        Ok(())
    }

    fn write_boot(&self, partition: &BootPartition, arguments: &Arguments) -> Result<()> {
        copy::write_version(partition, &self.source, &self.release, arguments)?;
        loader::install(partition, self.kind, None)?;
        let versions = match partition.versions() {
            Ok(versions) if partition.is_installed() => {
                versions.with_default(&self.release.version)
            }
            _ => Versions { default: self.release.version.clone(), others: Vec::new() },
        };
        partition.switch(&versions)?;
        partition.keep_trial(None)?;
        partition.keep_arguments(arguments)
    }

    fn arguments(&self, partitions: &Partitions) -> Result<Arguments> {
        let boot = partitions.boot.first().context("no boot partition")?;
        let (boot, state) = (target::uuid(boot)?, target::uuid(&partitions.state)?);
        let mut line = format!(
            "{} {PARAMETERS} {BOOT_PARAMETER}=UUID={boot} rancher.state.dev=UUID={state}",
            self.kind.consoles()
        );
        if let (Some((container, _)), Some(encryption)) = (&partitions.container, &self.encryption)
        {
            let container = target::uuid(container)?;
            line.push_str(&format!(" rancher.state.encryption.device=UUID={container}"));
            line.push_str(&encryption.parameters());
        }
        if self.kind == Kind::Raid {
            line.push_str(" rancher.state.mdadm_scan=true");
        }
        if !self.statedir.is_empty() {
            line.push_str(&format!(" rancher.state.directory={}", self.statedir));
        }
        if !self.append.is_empty() {
            line.push_str(&format!(" {}", self.append));
        }
        Ok(Arguments { line })
    }

    fn write_state(&self, device: &Path) -> Result<()> {
        on_state(device, |root| self.user_config.write(&self.base(root)))
    }

    /// The folder of the state on its mounted partition.
    fn base(&self, root: &Path) -> PathBuf {
        root.join(self.statedir.trim_matches('/'))
    }
}

fn start_by_kexec(plan: &Plan, partitions: &Partitions) -> Result<()> {
    let device = partitions.boot.first().context("no boot partition")?;
    on_boot(device, |partition| crate::kexec::load(partition, &plan.release.version, ""))?;
    crate::kexec::start()
}
