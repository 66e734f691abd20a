//! `ros engine-trial`, in a container of its own while a replacement engine has not proved itself:
//! Docker has to answer and to run a container in time. Then the engine is marked as one that
//! works. Otherwise the failure is recorded, and the resolver uses the engine before it.

use super::user_docker::CONSOLE_DONE;
use anyhow::{Context, Result, anyhow, bail, ensure};
use corral_docker::{Client, Engine, probe};
use corral_engine::client::{call, unexpected};
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::Snapshot;
use corral_machine::console::log;
use corral_machine::deadline::pause;
use corral_machine::inotify;
use corral_resolve::engine_switch::Candidate;
use corral_resolve::engines::{self, Failure};
use corral_resolve::replacement;
use corral_resolve::root::Root;
use corral_resolve::switchable::ENGINE;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the engine may take.
const TIME: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(1);
/// Timeout of a single request.
const ATTEMPT: Duration = Duration::from_secs(10);
/// After so many restarts it will not come up.
const MOST_RESTARTS: u32 = 3;

/// Tries the engine with this mark. `name` is for messages.
pub(crate) fn run(mark: &str, name: &str) -> Result<()> {
    // Docker waits for the owner's commands, which may take their time.
    let done = Path::new(CONSOLE_DONE);
    inotify::wait_for(done.parent().unwrap_or(done), None, || done.exists())?;
    match prove(mark, Instant::now() + TIME) {
        Ok(true) => {
            engines::keep_proof(mark)?;
            log(&format!("engine {name}: it has run a container; it stays"));
            Ok(())
        }
        // Another one was requested meanwhile, and has a trial of its own.
        Ok(false) => Ok(()),
        Err(error) => {
            let reason = format!("{error:#}");
            log(&format!("engine {name} failed its trial: {reason}; the one before it runs again"));
            Failure { mark: mark.to_owned(), name: name.to_owned(), reason }.store()?;
            // The configured name is that of the image before it again.
            let root = Root::machine();
            let before = engines::before(&root);
            let is_it = |other: &Candidate| other.mark == mark && other.name == before;
            match Candidate::load(&root).filter(is_it) {
                Some(candidate) => forget(&candidate),
                None => Ok(()),
            }
        }
    }
}

/// The image is in use until the engine before it runs. Without a name, it is removed after that by
/// the next switch, or by `ros gc`.
fn forget(candidate: &Candidate) -> Result<()> {
    Candidate::forget()?;
    let name = format!("{}:{}", engines::CANDIDATES, candidate.name);
    Client::of(Engine::System)?.untag(&name).with_context(|| format!("removing the name {name}"))
}

/// Tries until a container has run or the deadline has passed. False if another engine is the one
/// that is to run.
fn prove(mark: &str, deadline: Instant) -> Result<bool> {
    let client = Client::of(Engine::User)?;
    let mut has_begun = false;
    loop {
        let tried = match inspect() {
            Ok(found) if is_marked(&found, mark) => {
                has_begun = true;
                check_restarts(&found)?;
                attempt(&client, &found, deadline)
            }
            Ok(_) if has_begun => return Ok(false),
            // The engine before it is still being stopped.
            Ok(_) => Err(anyhow!("it was not started within {} s", TIME.as_secs())),
            Err(error) => Err(error),
        };
        match tried {
            Ok(()) => return Ok(true),
            Err(_) if Instant::now() >= deadline && !has_begun => return Ok(false),
            Err(error) if Instant::now() >= deadline => return Err(error),
            // No event reports that a daemon begins to answer on a socket that may not even exist.
            Err(_) => pause(PAUSE),
        }
    }
}

fn is_marked(found: &Snapshot, mark: &str) -> bool {
    replacement::mark(&ENGINE, &found.spec.image_id) == mark
}

fn check_restarts(found: &Snapshot) -> Result<()> {
    if found.status.restarts < MOST_RESTARTS {
        return Ok(());
    }
    let said = Client::of(Engine::System)?.last_lines(ENGINE.service, 2).replace('\n', "; ");
    bail!("its program exits with status {}: {said}", found.status.exit_code)
}

/// Runs a container by the engine that was found.
fn attempt(client: &Client, found: &Snapshot, deadline: Instant) -> Result<()> {
    let late = || format!("it did not answer within {} s", TIME.as_secs());
    client.ping(ATTEMPT).with_context(late)?;
    // The default network, so that its firewall rules are tried too.
    probe::run("bridge", deadline).context("running a container")?;
    // What answered may have been the engine before it, or one that has exited since.
    let now = inspect()?;
    let is_same = now.spec.image_id == found.spec.image_id && now.status.pid == found.status.pid;
    ensure!(is_same && now.status.pid.is_some(), "it was restarted while it ran a container");
    Ok(())
}

fn inspect() -> Result<Snapshot> {
    match call(Request::Inspect { container: ENGINE.service.to_owned() })? {
        Reply::Container(found) => Ok(*found),
        other => Err(unexpected(&other).into()),
    }
}
