//! `ros engine switch` and `enable`. The new engine is checked before anything changes, and tried
//! after the switch (`applets::engine_trial`). If it fails, the engine before it runs again.

use super::check::Checked;
use super::choice::{self, Choice, configured};
use super::data::{Kind, consequences};
use super::{candidate, check, list, stopped};
use crate::applets::wait_for_docker;
use anyhow::{Context, Result, bail};
use clap::Args;
use corral_docker::{Client, Engine, probe};
use corral_engine::client::call;
use corral_engine::image::lookup;
use corral_engine::protocol::Request;
use corral_machine::console::log;
use corral_resolve::enabled::Enabled;
use corral_resolve::engine_switch::{self, Candidate};
use corral_resolve::engines::{self, Failure};
use corral_resolve::root::Root;
use corral_resolve::stopped::Stopped;
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

/// The engine before a switch.
#[derive(Debug)]
struct Before {
    /// As it is configured.
    configured: String,
    /// The one that runs: the configured one may wait for the next boot, or have failed.
    running: String,
}

impl Before {
    fn load() -> Before {
        let configured = configured(&corral_resolve::stored_config());
        let running = engine_switch::running(&Root::machine(), &configured);
        Before { configured, running }
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    candidate::settle()?;
    let chosen = choice::prepare(&options.name, !options.no_pull)?;
    let (from, to) = (list::current_kind()?, list::kind_of(&chosen)?);
    if from == to && !chosen.is_candidate() {
        println!("warning: the engine {} is the current one already", to.name);
    }
    let checked = chosen.image.as_deref().map(check::run).transpose()?;
    // The check may have found its version and its program.
    let to = list::kind_of(&chosen).unwrap_or(to);
    consequences(&from, &to).iter().for_each(|line| println!("{line}"));
    if !options.force && !confirm("Continue")? {
        return Ok(());
    }
    switch(&from, &to, &chosen, checked)
}

fn switch(from: &Kind, to: &Kind, chosen: &Choice, checked: Option<Checked>) -> Result<()> {
    let before = Before::load();
    // Nothing is stopped for a switch that is refused.
    set(&before, chosen, checked.as_ref())?;
    Enabled::forget(ENGINE.service)?;
    let stopped = stopped::stop()?;
    let result =
        call(Request::Reload).context("applying it").and_then(|_| wait(chosen, checked.as_ref()));
    if let Err(error) = result {
        let rolled_back = roll_back(&before, chosen, checked, &error);
        stopped::start(&stopped)?;
        return rolled_back.and_then(|()| Err(error.context(format!("{} runs again", from.name))));
    }
    if let Err(error) = candidate::settle() {
        eprintln!("warning: {error:#}; the next `ros engine switch` or `enable` does it");
    }
    println!("{} runs", to.name);
    // Podman and Docker do not know each other's containers.
    if from.is_podman == to.is_podman { stopped::start(&stopped) } else { Stopped::forget() }
}

/// Stores the choice for the next boot, which tries it. In this boot, no reload of the
/// configuration applies it.
pub(super) fn enable(name: &str) -> Result<()> {
    candidate::settle()?;
    let chosen = choice::prepare(name, true)?;
    let checked = chosen.image.as_deref().map(check::run).transpose()?;
    let before = Before::load();
    store::ensure_free()?;
    Enabled::keep(ENGINE.service, &chosen.name, &before.running)?;
    set(&before, &chosen, checked.as_ref()).inspect_err(|_| {
        let _ = Enabled::restore(ENGINE.service, &before.configured, &before.running);
    })
}

/// First what the next boot needs if power is cut: it tries the new one, and uses the one before it
/// if that fails.
fn set(before: &Before, chosen: &Choice, checked: Option<&Checked>) -> Result<()> {
    store::ensure_free()?;
    Failure::forget()?;
    // Its trial before is not one of this image.
    Client::of(Engine::System)?.remove(engines::TRIAL, false)?;
    if before.running != chosen.name || chosen.is_candidate() {
        engines::keep_before(&before.running)?;
    }
    match checked.filter(|_| chosen.is_candidate()).cloned() {
        Some(Checked { image_id, mark }) => {
            Candidate { name: chosen.name.clone(), image_id, mark }.store()?;
        }
        None => Candidate::forget()?,
    }
    store_choice(&before.configured, &chosen.name).inspect_err(|_| {
        // The name that is configured may be the same.
        let _ = Candidate::forget();
    })
}

fn store_choice(before: &str, chosen: &str) -> Result<()> {
    store::set(ENGINE.key, chosen, None)?;
    let effective = configured(&corral_resolve::stored_config());
    if effective != chosen {
        store::set(ENGINE.key, before, None)?;
        bail!("{0}: {effective} takes precedence; ros config explain {0} shows why", ENGINE.key);
    }
    Ok(())
}

/// Waits until the engine has run a container. An error if it fails.
fn wait(chosen: &Choice, checked: Option<&Checked>) -> Result<()> {
    let client = Client::of(Engine::System)?;
    let deadline = Instant::now() + TIMEOUT;
    let mark = checked.map(|checked| checked.mark.as_str());
    let is_there = client.watch(&[ENGINE.service], deadline, || {
        check_failure(mark)?;
        Ok(runs(&client, checked).then_some(()))
    })?;
    is_there
        .with_context(|| format!("{} was not started in {} s", chosen.name, TIMEOUT.as_secs()))?;
    let Some(mark) = mark else { return prove(&client, deadline) };
    let root = Root::machine();
    let tried = client.watch(&[engines::TRIAL, ENGINE.service], deadline, || {
        check_failure(Some(mark))?;
        Ok(engines::has_proof(&root, mark).then_some(()))
    })?;
    tried.with_context(|| format!("its trial did not end in {} s", TIMEOUT.as_secs()))?;
    // One that worked before is not tried by the system.
    prove(&client, deadline)
}

/// Is the engine of this image the one that runs? None is the built-in one. Not by its name:
/// another build may have the same.
fn runs(client: &Client, checked: Option<&Checked>) -> bool {
    let found = client.container(ENGINE.service).unwrap_or_default().unwrap_or_default();
    match checked {
        Some(checked) => found.image == checked.image_id,
        None => lookup::is_embedded(found.image_name()),
    }
}

/// Runs a container. If the image did not change, the configuration may restart dockerd meanwhile:
/// then the next one has to run it.
fn prove(client: &Client, deadline: Instant) -> Result<()> {
    loop {
        let began = started_at(client);
        wait_for_docker::until(deadline)?;
        let result = probe::run("bridge", deadline);
        let is_same = began.is_some() && began == started_at(client);
        if result.is_ok() || is_same || Instant::now() >= deadline {
            return result.context("running a container");
        }
    }
}

/// When the engine that runs now was started. None while there is none.
fn started_at(client: &Client) -> Option<String> {
    let state = client.container(ENGINE.service).ok()??.state;
    (state.status == "running").then_some(state.started_at)
}

fn check_failure(mark: Option<&str>) -> Result<()> {
    match Failure::load(&Root::machine()).filter(|failure| Some(&*failure.mark) == mark) {
        Some(failure) => bail!("{} failed its trial: {}", failure.name, failure.reason),
        None => Ok(()),
    }
}

/// Lets the engine before it run again.
fn roll_back(
    before: &Before,
    chosen: &Choice,
    checked: Option<Checked>,
    error: &anyhow::Error,
) -> Result<()> {
    let name = chosen.name.clone();
    let reason = format!("{error:#}");
    let Before { running, .. } = before;
    log(&format!("ros engine switch: {reason}; {running} runs again"));
    store::set(ENGINE.key, running, None)?;
    Candidate::forget()?;
    let root = Root::machine();
    // One that has worked is not refused for good because of one bad moment.
    let mark = checked.as_ref().map(|checked| checked.mark.clone());
    if let Some(mark) = mark.filter(|mark| !engines::has_proof(&root, mark))
        && Failure::load(&root).is_none()
    {
        Failure { mark, name, reason }.store()?;
    }
    call(Request::Reload).with_context(|| format!("rolling back to {running}"))?;
    if *running == chosen.name && !chosen.is_candidate() {
        return Ok(());
    }
    let client = Client::of(Engine::System)?;
    let is_back = client.watch(&[ENGINE.service], Instant::now() + TIMEOUT, || {
        Ok((!runs(&client, checked.as_ref())).then_some(()))
    })?;
    is_back.with_context(|| format!("{running} was not started again"))?;
    if let Some(checked) = checked.filter(|_| chosen.is_candidate())
        && let Err(error) = candidate::remove(&checked.image_id)
    {
        eprintln!("warning: {error:#}; `ros gc --all` removes it");
    }
    wait_for_docker::run_quietly()
}
