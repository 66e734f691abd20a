//! The trial of a new version: the network's container runs, sshd answers, the user's Docker runs a
//! container. Then the version becomes the default. If it does not pass in time, the reason is
//! stored and the machine restarts into the previous version. If the trial itself hangs, a watchdog
//! that stage 0 started does the same.

use crate::release::boot_partitions::BootPartitions;
use anyhow::{Context, Result, bail};
use corral_docker::probe;
use corral_engine::client::call;
use corral_engine::error::EngineError;
use corral_engine::protocol::{PowerAction, Reply, Request};
use corral_machine::boot_partition::booted;
use corral_machine::boot_partition::{Stage, Trial};
use corral_machine::console::log;
use corral_machine::deadline::pause;
use corral_machine::watchdog;
use corral_resolve::effective::load_config;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// A check that has to pass; it gives up at the deadline.
type Check = fn(Instant) -> Result<()>;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(2);

/// A version on trial must not be changed: the watchdog could end the change halfway.
pub(super) fn refuse_changes() -> Result<()> {
    match booted::trial() {
        Some(trial) => bail!(
            "version {} is on trial; it is the default or gone within {} s. Nothing was changed",
            trial.version,
            trial.deadline
        ),
        None => Ok(()),
    }
}

/// `ros os-trial`, in a container of its own.
pub fn run() -> Result<()> {
    let Some(trial) = booted::trial() else { return Ok(()) };
    let deadline = Instant::now() + Duration::from_secs(trial.deadline.into());
    match prove(deadline) {
        Ok(()) => {
            accept(&trial)?;
            log(&format!("version {} has passed its trial; it is now the default", trial.version));
            Ok(())
        }
        Err(error) => {
            log(&format!(
                "version {} failed: {error:#}; rolling back to version {}",
                trial.version, trial.before
            ));
            refuse(&trial, &format!("{error:#}"))?;
            call(Request::Power { action: PowerAction::Reboot, force: false })?;
            Ok(())
        }
    }
}

/// Tries until everything works or the deadline has passed.
fn prove(deadline: Instant) -> Result<()> {
    let steps: [(&str, Check); 3] =
        [("network", check_network), ("sshd", check_sshd), ("Docker", check_docker)];
    for (name, check) in steps {
        while let Err(error) = check(deadline) {
            if Instant::now() + PAUSE > deadline {
                return Err(error).with_context(|| format!("{name} did not work in time"));
            }
            // No event reports that sshd or Docker begins to work.
            pause(PAUSE);
        }
        println!("{name} works");
    }
    Ok(())
}

/// The default first, then the rest. After a power cut in between, the new version is booted,
/// perhaps once more on trial.
fn accept(trial: &Trial) -> Result<()> {
    let boot = BootPartitions::lock()?;
    for partition in boot.iter() {
        partition.switch(&partition.versions()?.with_default(&trial.version))?;
        partition.keep_trial(None)?;
    }
    watchdog::stop()
}

fn refuse(trial: &Trial, reason: &str) -> Result<()> {
    let boot = BootPartitions::lock()?;
    let failed = Trial { stage: Stage::Failed, reason: reason.to_owned(), ..trial.clone() };
    boot.iter().try_for_each(|partition| partition.keep_trial(Some(&failed)))
}

/// True if a service of the plan runs. False if this machine does not have it; an error if it was
/// not started yet.
fn check_running(service: &str) -> Result<bool> {
    match call(Request::Inspect { container: service.to_owned() }) {
        Ok(Reply::Container(found)) if found.status.pid.is_some() => Ok(true),
        Ok(Reply::Container(_)) => bail!("the container {service} does not run"),
        Ok(_) => bail!("unexpected answer from PID 1"),
        Err(EngineError::NoSuchContainer(_)) => {
            let Reply::Value(waiting) = call(Request::Waiting)? else {
                bail!("unexpected answer from PID 1");
            };
            if waiting.get(service).is_some() {
                bail!("{service} was not started")
            } else {
                Ok(false)
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn check_network(_: Instant) -> Result<()> {
    check_running("network").map(drop)
}

fn check_sshd(_: Instant) -> Result<()> {
    let ssh = load_config()?.rancher.ssh;
    if !ssh.daemon {
        return Ok(());
    }
    let address = ssh.listen_address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let address = if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address };
    let port = if ssh.port == 0 { 22 } else { ssh.port };
    let mut stream = TcpStream::connect((address, port)).context("connecting to sshd")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut banner = [0_u8; 4];
    stream.read_exact(&mut banner).context("reading sshd's banner")?;
    if &banner == b"SSH-" { Ok(()) } else { bail!("what answers on port {port} is not sshd") }
}

/// Checks that it runs a container, and not only that it answers.
fn check_docker(deadline: Instant) -> Result<()> {
    if !check_running("docker")? {
        return Ok(());
    }
    probe::run("none", deadline)
}
