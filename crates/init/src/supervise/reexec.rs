//! PID 1 executes its own binary again, on request (`ros os reexec`) or after a panic. Its state is
//! passed as JSON in a memfd; its file descriptors stay open across the exec. Containers, helpers
//! and clients notice nothing.

use super::bugs::Bugs;
use super::clients::{self, Caller, Clients};
use super::container;
use super::daemon::Daemon;
use super::final_steps;
use super::jobs::{self, Jobs};
use super::moment::Moment;
use super::reload::{Reload, Requests};
use super::supervisor::{BootContext, Supervisor};
use super::table::Containers;
use super::timers::{self, Timer, Timers};
use crate::trace::Trace;
use anyhow::{Context, Result, bail};
use corral_engine::error::EngineError;
use corral_engine::protocol::{PowerAction, Reply};
use corral_engine::sys;
use corral_engine::sys::signals::Signals;
use corral_machine::console::log;
use corral_plan::resolved::Resolved;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Both sides must agree on the shape of [`Saved`].
const VERSION: u32 = 7;

/// All that PID 1 knows; descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    resumed: u32,
    bugs: Bugs,
    clients: clients::Saved,
    containers: Vec<container::Saved>,
    jobs: jobs::Saved,
    timers: timers::Saved,
    callers: Vec<Caller>,
    resolved: Resolved,
    reload: Requests,
    trace: Trace,
    daemon: Daemon,
    shutdown: Option<PowerAction>,
    announced: bool,
    started: Moment,
}

/// By which a PID 1 that resumes is called, and found in the list of processes.
pub(crate) const NAME: &str = "system-docker";

impl Supervisor {
    /// Between two turns nothing is half done: the time to go over into a new process.
    pub(super) fn execute_again_if_requested(&mut self) {
        if self.reexec.is_none() {
            return;
        }
        self.answer_interrupted();
        let Some(request) = self.reexec.take() else { return };
        let saved = self.save(request.callers);
        let kept = saved.descriptors();
        let error = match serde_json::to_vec(&saved) {
            Ok(document) => sys::execute_again(NAME, &document, &kept),
            Err(error) => error.into(),
        };
        log(&format!("PID 1 could not re-execute itself and continues unchanged: {error}"));
        self.put_back(saved, &format!("PID 1 could not re-execute itself: {error}"));
    }

    /// Moves out what cannot be copied; [`Supervisor::put_back`] undoes it.
    fn save(&mut self, callers: Vec<Caller>) -> Saved {
        Saved {
            version: VERSION,
            resumed: self.resumed.saturating_add(1),
            bugs: std::mem::take(&mut self.bugs),
            clients: self.clients.save(),
            containers: self.containers.save(),
            jobs: self.jobs.save(),
            timers: self.timers.save(),
            callers,
            resolved: self.resolved.clone(),
            reload: self.reload.save(),
            trace: self.trace.clone(),
            daemon: self.daemon.clone(),
            shutdown: self.shutdown,
            announced: self.announced,
            started: self.started,
        }
    }

    fn put_back(&mut self, saved: Saved, message: &str) {
        self.reload.put_back(saved.reload);
        self.bugs = saved.bugs;
        for caller in saved.callers {
            let error = EngineError::Failed(message.to_owned());
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
            final_steps::restart(&format!("{error:#}"));
            return Err(error);
        }
        Err(_) => {
            final_steps::restart("a bug while restoring the state of the previous PID 1");
            bail!("the machine could not be rebooted");
        }
    };
    log(&format!(
        "PID 1 continues in a new process, with {} containers",
        supervisor.containers.len()
    ));
    // What ended on the way over is a zombie by now; the signal may have come to the old process.
    supervisor.timers.set(Duration::ZERO, Timer::Reap);
    supervisor.run_loop()
}

fn read(document: &[u8]) -> Result<Saved> {
    let saved: Saved =
        serde_json::from_slice(document).context("reading the state of the previous PID 1")?;
    if saved.version != VERSION {
        bail!("the previous PID 1 saved version {}, not {VERSION}", saved.version);
    }
    Ok(saved)
}

fn restore(signals: Signals, saved: Saved) -> Result<Supervisor> {
    let clients = Clients::restore(saved.clients).context("the control socket is gone")?;
    let boot = BootContext { resolved: saved.resolved, trace: saved.trace };
    let mut supervisor = Supervisor::with_clients(signals, clients, boot);
    (supervisor.resumed, supervisor.bugs) = (saved.resumed, saved.bugs);
    supervisor.containers = Containers::restore(saved.containers);
    supervisor.jobs = Jobs::restore(saved.jobs);
    supervisor.timers = Timers::restore(saved.timers);
    supervisor.daemon = saved.daemon;
    (supervisor.shutdown, supervisor.announced) = (saved.shutdown, saved.announced);
    supervisor.started = saved.started;
    let (reload, run) = Reload::restore(saved.reload);
    supervisor.reload = reload;
    if let Some(run) = run {
        // The old one's child reports to no process any more; a new one reads the same files.
        supervisor.start_resolver(&run);
    }
    for caller in saved.callers {
        supervisor.clients.answer(caller, Reply::Done, &[]);
    }
    Ok(supervisor)
}

impl Saved {
    /// Every descriptor that must stay open.
    fn descriptors(&self) -> Vec<RawFd> {
        let of_containers = self.containers.iter().flat_map(container::Saved::descriptors);
        self.clients.descriptors().chain(of_containers).chain(self.jobs.descriptors()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::reload::Run;
    use corral_engine::protocol::Answer;
    use corral_engine::sys::packet::{self, Received};

    #[test]
    fn clients_whose_requests_a_bug_interrupts_are_answered() {
        let path = std::env::temp_dir().join(format!("corral-reexec-{}", std::process::id()));
        let clients = Clients::new(packet::listen_at(&path).unwrap());
        let boot = BootContext { resolved: Resolved::default(), trace: Trace::default() };
        let mut supervisor = Supervisor::with_clients(Signals::open().unwrap(), clients, boot);
        let client = packet::connect_to(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        supervisor.accept();
        let receive = || match packet::receive::<Answer>(&client).unwrap() {
            Received::Message(Answer::Reply { number, reply }, _) => (number, reply),
            other => panic!("{other:?}"),
        };
        let is_bug = |reply: Reply| match reply {
            Reply::Error(error) => error.to_string().contains("bug"),
            _ => false,
        };

        // While what was resolved is applied.
        let caller = Caller { connection: 1, number: 7 };
        supervisor.reload.request(Run::default(), Some(caller));
        supervisor.reload.finish();
        supervisor.answer_interrupted();
        let (number, reply) = receive();
        assert!(number == 7 && is_bug(*reply));

        // While its request is handled, and once only.
        supervisor.serving = Some(Caller { number: 8, ..caller });
        supervisor.answer_interrupted();
        supervisor.answer_interrupted();
        supervisor.clients.answer(Caller { number: 9, ..caller }, Reply::Done, &[]);
        let (number, reply) = receive();
        assert!(number == 8 && is_bug(*reply));
        assert_eq!(receive().0, 9);
    }
}
