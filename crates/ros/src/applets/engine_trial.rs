//! `ros engine-trial`, in a container of its own while a replacement engine has not proved itself:
//! Docker has to answer and to run a container in time. Then the engine is marked as one that
//! works. Otherwise the failure is recorded, and the resolver uses the engine before it.

use anyhow::{Context, Result, bail};
use corral_docker::{Client, Engine, probe};
use corral_engine::client::{call, unexpected};
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::Snapshot;
use corral_machine::console::log;
use corral_machine::deadline::pause;
use corral_resolve::engines::{self, Failure};
use corral_resolve::replacement;
use corral_resolve::switchable::ENGINE;
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
            Failure { mark: mark.to_owned(), name: name.to_owned(), reason }.store()
        }
    }
}

/// Tries until a container has run or the deadline has passed. False if this engine is no longer
/// the one that is to run.
fn prove(mark: &str, deadline: Instant) -> Result<bool> {
    let client = Client::of(Engine::User)?;
    while let Err(error) = attempt(&client, deadline) {
        let Snapshot { spec, status, .. } = inspect()?;
        if replacement::mark(&ENGINE, &spec.image_id) != mark {
            return Ok(false);
        }
        if status.restarts >= MOST_RESTARTS {
            let said = Client::of(Engine::System)?.last_lines(ENGINE.service, 2);
            let said = said.replace('\n', "; ");
            bail!("its program exits with status {}: {said}", status.exit_code);
        }
        if Instant::now() >= deadline {
            return Err(error);
        }
        // No event reports that a daemon begins to answer on a socket that may not even exist yet.
        pause(PAUSE);
    }
    Ok(true)
}

fn attempt(client: &Client, deadline: Instant) -> Result<()> {
    let late = || format!("it did not answer within {} s", TIME.as_secs());
    client.ping(ATTEMPT).with_context(late)?;
    // The default network, so that its firewall rules are tried too.
    probe::run("bridge", deadline).context("running a container")
}

fn inspect() -> Result<Snapshot> {
    match call(Request::Inspect { container: ENGINE.service.to_owned() })? {
        Reply::Container(found) => Ok(*found),
        other => Err(unexpected(&other).into()),
    }
}
