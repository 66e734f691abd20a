//! `ros engine switch` and `enable`. The new engine is checked before anything changes, and tried
//! after the switch (`applets::engine_trial`). If it fails, the engine before it runs again.

use super::choice::{self, Choice, configured};
use super::data::consequences;
use super::{check, list};
use crate::applets::wait_for_docker;
use anyhow::{Context, Result, bail};
use clap::Args;
use corral_docker::{Client, Engine, probe};
use corral_engine::client::call;
use corral_engine::image::lookup;
use corral_engine::protocol::Request;
use corral_machine::console::log;
use corral_resolve::engines::{self, Failure};
use corral_resolve::root::Root;
use corral_resolve::switchable::ENGINE;
use corral_resolve::{self, store};
use corral_terminal::prompt::confirm;
use std::time::{Duration, Instant};

/// How long a switch may take: longer than the trial.
const TIMEOUT: Duration = Duration::from_secs(240);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
    force: bool,
    /// Do not pull the image: it is on this machine
    #[arg(long)]
    no_pull: bool,
    /// A name that `list` shows, an archive, an image, or the path or URL of a service file
    name: String,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let current = list::current()?;
    let chosen = choice::prepare(&options.name, !options.no_pull)?;
    let (from, to) = (list::kind(&current)?, list::kind(&chosen.name)?);
    if from == to {
        println!("warning: the engine {} is the current one already", to.name);
    }
    let mark = chosen.image.as_deref().map(check::run).transpose()?;
    // The check may have found its version and its program.
    let to = list::kind(&chosen.name).unwrap_or(to);
    consequences(&from, &to).iter().for_each(|line| println!("{line}"));
    if !options.force && !confirm("Continue")? {
        return Ok(());
    }
    let before = configured(&corral_resolve::stored_config());
    // Nothing is stopped for a switch that is refused.
    set(&before, &chosen)?;
    let stopped = stop_containers()?;
    let result =
        call(Request::Reload).context("applying it").and_then(|_| wait(&chosen, mark.as_deref()));
    let result = match result {
        Ok(()) => {
            println!("{} runs", to.name);
            Ok(from.is_podman == to.is_podman)
        }
        Err(error) => roll_back(&before, &chosen, mark, &error)
            .and_then(|()| Err(error.context(format!("{} runs again", from.name)))),
    };
    // Podman and Docker do not know each other's containers.
    if *result.as_ref().unwrap_or(&true) {
        start_again(&stopped)?;
    }
    result.map(drop)
}

/// Stores the choice for the next start, which tries it.
pub(super) fn enable(name: &str) -> Result<()> {
    let chosen = choice::prepare(name, true)?;
    if let Some(image) = &chosen.image {
        check::run(image)?;
    }
    set(&configured(&corral_resolve::stored_config()), &chosen)
}

/// First what the next boot needs if power is cut: it tries the new one, and uses the one before it
/// if that fails.
fn set(before: &str, chosen: &Choice) -> Result<()> {
    store::ensure_free()?;
    Failure::forget()?;
    // Its trial before is not one of this image.
    Client::of(Engine::System)?.remove(engines::TRIAL, false)?;
    if before != chosen.name {
        engines::keep_before(before)?;
    }
    store::set(ENGINE.key, &chosen.name, None)?;
    let effective = configured(&corral_resolve::stored_config());
    if effective != chosen.name {
        store::set(ENGINE.key, before, None)?;
        bail!("{0}: {effective} takes precedence; ros config explain {0} shows why", ENGINE.key);
    }
    Ok(())
}

/// An engine does not take over the running containers of another version. Returns their ids.
fn stop_containers() -> Result<Vec<String>> {
    let client = Client::of(Engine::User)?;
    // An engine that does not answer is replaced all the same.
    let mut containers = client.containers().unwrap_or_else(|error| {
        eprintln!("warning: containers are not stopped: {error}");
        Vec::new()
    });
    containers.retain(|container| container.state == "running");
    for container in &containers {
        println!("stopping {}", container.name().unwrap_or(&container.id));
        if let Err(error) = client.stop(&container.id, None) {
            eprintln!("warning: it is not stopped: {error}");
        }
    }
    Ok(containers.into_iter().map(|container| container.id).collect())
}

fn start_again(containers: &[String]) -> Result<()> {
    let client = Client::of(Engine::User)?;
    for id in containers {
        if let Err(error) = client.start(id) {
            eprintln!("warning: a container is not started again: {error}");
        }
    }
    Ok(())
}

/// Waits until the engine has run a container. An error if it fails.
fn wait(chosen: &Choice, mark: Option<&str>) -> Result<()> {
    let client = Client::of(Engine::System)?;
    let deadline = Instant::now() + TIMEOUT;
    let is_there = client.watch(&[ENGINE.service], deadline, || {
        check_failure(mark)?;
        let found = client.container(ENGINE.service).unwrap_or_default().unwrap_or_default();
        let is_chosen = match &chosen.image {
            Some(image) => found.image_name() == image,
            None => lookup::is_embedded(found.image_name()),
        };
        Ok(is_chosen.then_some(()))
    })?;
    is_there.with_context(|| format!("it was not started in {} s", TIMEOUT.as_secs()))?;
    let Some(mark) = mark else { return prove(deadline) };
    let root = Root::machine();
    let tried = client.watch(&[engines::TRIAL, ENGINE.service], deadline, || {
        check_failure(Some(mark))?;
        Ok(engines::has_proof(&root, mark).then_some(()))
    })?;
    tried.with_context(|| format!("its trial did not end in {} s", TIMEOUT.as_secs()))?;
    // One that worked before is not tried by the system.
    prove(deadline)
}

fn prove(deadline: Instant) -> Result<()> {
    wait_for_docker::run_quietly()?;
    probe::run("bridge", deadline).context("running a container")
}

fn check_failure(mark: Option<&str>) -> Result<()> {
    match Failure::load(&Root::machine()).filter(|failure| Some(&*failure.mark) == mark) {
        Some(failure) => bail!("{} failed its trial: {}", failure.name, failure.reason),
        None => Ok(()),
    }
}

/// Lets the engine before it run again.
fn roll_back(
    before: &str,
    chosen: &Choice,
    mark: Option<String>,
    error: &anyhow::Error,
) -> Result<()> {
    let name = chosen.name.clone();
    let reason = format!("{error:#}");
    log(&format!("ros engine switch: {reason}; {before} runs again"));
    store::set(ENGINE.key, before, None)?;
    let root = Root::machine();
    // One that has worked is not refused for good because of one bad moment.
    if let Some(mark) = mark.filter(|mark| !engines::has_proof(&root, mark))
        && Failure::load(&root).is_none()
    {
        Failure { mark, name, reason }.store()?;
    }
    call(Request::Reload).with_context(|| format!("rolling back to {before}"))?;
    if before == chosen.name {
        return Ok(());
    }
    let client = Client::of(Engine::System)?;
    let failed = chosen.image.as_deref().unwrap_or(engines::BUILT_IN);
    let is_back = client.watch(&[ENGINE.service], Instant::now() + TIMEOUT, || {
        let found = client.container(ENGINE.service).unwrap_or_default().unwrap_or_default();
        Ok((found.image_name() != failed).then_some(()))
    })?;
    is_back.with_context(|| format!("{before} was not started again"))?;
    wait_for_docker::run_quietly()
}
