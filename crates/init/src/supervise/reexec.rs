//! PID 1 executes its own binary again, on request (`ros os reexec`) or after a panic. Its state is
//! passed as JSON in a memfd; its file descriptors stay open across the exec. Containers, helpers
//! and clients notice nothing.

use super::bugs::Bugs;
use super::clients::{self, Clients, Waiting};
use super::daemon::Daemon;
use super::ending::Ending;
use super::jobs::{self, Jobs};
use super::reload::Reload;
use super::table::{self, Containers};
use super::timers::{self, Timer, Timers};
use super::waiters::Waiter;
use super::{Foundation, Supervisor, age, ending};
use crate::trace::Trace;
use anyhow::{Context, Result, bail};
use corral_engine::protocol::{PowerAction, Reply};
use corral_engine::sys;
use corral_engine::sys::signals::Signals;
use corral_machine::console::say;
use corral_plan::resolved::Resolved;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Both sides must agree on the shape of [`Saved`].
const VERSION: u32 = 5;

/// Who wants it, and is answered when it is done.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) callers: Vec<Waiting>,
}

/// All that PID 1 knows; descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    resumed: u32,
    bugs: Bugs,
    clients: clients::Saved,
    containers: Vec<table::Saved>,
    jobs: jobs::Saved,
    timers: timers::Saved,
    waiters: Vec<Waiter>,
    callers: Vec<Waiting>,
    resolved: Resolved,
    was_resolving: bool,
    reload: Reload,
    trace: Trace,
    daemon_pid: Option<i32>,
    daemon_failures: u32,
    /// Milliseconds since it began.
    daemon_age: u64,
    ending: Option<PowerAction>,
    announced: bool,
    age: u64,
}

impl Supervisor {
    /// Between two turns nothing is half done: the time to go over into a new process.
    pub(super) fn execute_again_if_wanted(&mut self) {
        let Some(wish) = self.reexec.take() else { return };
        let saved = self.save(wish.callers);
        let kept = saved.descriptors();
        let error = match serde_json::to_vec(&saved) {
            Ok(document) => sys::execute_again("system-docker", &document, &kept),
            Err(error) => error.into(),
        };
        say(&format!("PID 1 could not execute itself again and goes on as it is: {error}"));
        self.put_back(saved, &format!("PID 1 could not execute itself again: {error}"));
    }

    /// Moves out what cannot be copied; [`Supervisor::put_back`] undoes it.
    fn save(&mut self, callers: Vec<Waiting>) -> Saved {
        Saved {
            version: VERSION,
            resumed: self.resumed.saturating_add(1),
            bugs: std::mem::take(&mut self.bugs),
            clients: self.clients.save(),
            containers: self.containers.save(),
            jobs: self.jobs.save(),
            timers: self.timers.save(),
            waiters: std::mem::take(&mut self.waiters),
            callers,
            resolved: self.resolved.clone(),
            was_resolving: self.resolver.is_some(),
            reload: std::mem::take(&mut self.reload),
            trace: self.trace.clone(),
            daemon_pid: self.daemon.pid,
            daemon_failures: self.daemon.failures,
            daemon_age: self.daemon.started.map_or(0, age::since),
            ending: self.ending.as_ref().map(|ending| ending::action(ending.power)),
            announced: self.announced,
            age: age::since(self.started),
        }
    }

    fn put_back(&mut self, saved: Saved, message: &str) {
        (self.waiters, self.reload) = (saved.waiters, saved.reload);
        self.bugs = saved.bugs;
        for caller in saved.callers {
            let error = corral_engine::error::EngineError::Failed(message.to_owned());
            self.clients.answer(caller, Reply::Error(error), &[]);
        }
    }
}

/// Resumes from the state that the previous PID 1 saved. If that state cannot be restored, the
/// machine restarts; returns only if the kernel refuses that.
pub(crate) fn resume(signals: Signals, document: &[u8]) -> Result<()> {
    let restored =
        catch_unwind(AssertUnwindSafe(|| read(document).and_then(|saved| restore(signals, saved))));
    let mut supervisor = match restored {
        Ok(Ok(supervisor)) => supervisor,
        Ok(Err(error)) => {
            ending::restart(&format!("{error:#}"));
            return Err(error);
        }
        Err(_) => {
            ending::restart("a bug in what reads what the last process knew");
            bail!("the machine could not be restarted");
        }
    };
    say(&format!("PID 1 goes on in a new process, with {} containers", supervisor.containers.len()));
    // Whoever ended on the way over is a zombie by now; the signal may have come to the old process.
    supervisor.timers.set(Duration::ZERO, Timer::Reap);
    supervisor.go_on()
}

fn read(document: &[u8]) -> Result<Saved> {
    let saved: Saved = serde_json::from_slice(document).context("reading what the last process knew")?;
    if saved.version != VERSION {
        bail!("the last process left version {}, not {VERSION}", saved.version);
    }
    Ok(saved)
}

fn restore(signals: Signals, saved: Saved) -> Result<Supervisor> {
    let clients = Clients::restore(saved.clients).context("the control socket is gone")?;
    let foundation =
        Foundation { resolved: saved.resolved, trace: saved.trace, started: age::ago(saved.age) };
    let mut supervisor = Supervisor::with_clients(signals, clients, foundation);
    (supervisor.resumed, supervisor.bugs) = (saved.resumed, saved.bugs);
    supervisor.containers = Containers::restore(saved.containers);
    supervisor.jobs = Jobs::restore(saved.jobs);
    supervisor.timers = Timers::restore(saved.timers);
    (supervisor.waiters, supervisor.reload) = (saved.waiters, saved.reload);
    supervisor.daemon = Daemon {
        pid: saved.daemon_pid,
        started: saved.daemon_pid.map(|_| age::ago(saved.daemon_age)),
        failures: saved.daemon_failures,
    };
    supervisor.ending = saved.ending.map(|action| Ending { power: ending::power(action) });
    supervisor.announced = saved.announced;
    if saved.was_resolving {
        // The old one's child reports to nobody; a fresh one reads the same files.
        supervisor.start_resolver(&[]);
    }
    for caller in saved.callers {
        supervisor.clients.answer(caller, Reply::Done, &[]);
    }
    Ok(supervisor)
}

impl Saved {
    /// Every descriptor that must stay open.
    fn descriptors(&self) -> Vec<RawFd> {
        let of_containers = self.containers.iter().flat_map(table::Saved::descriptors);
        self.clients.descriptors().chain(of_containers).chain(self.jobs.descriptors()).collect()
    }
}
