//! PID 1 executes its own binary again, on a client's wish (`ros os reexec`) or after a bug: all that it knows goes
//! through memory to the new process, and all that it holds stays open. Containers, helpers and clients notice nothing.

use super::bugs::Bugs;
use super::connection::{Connection, Waiting};
use super::daemon::Daemon;
use super::ending::Ending;
use super::jobs::{Job, Purpose};
use super::reload::Reload;
use super::table::Container;
use super::waiters::Waiter;
use super::{Foundation, Supervisor, Timer, ending};
use crate::trace::Trace;
use anyhow::{Context, Result, bail};
use corral_engine::core::Helper;
use corral_engine::protocol::{PowerAction, Reply, Report};
use corral_engine::spec::ContainerSpec;
use corral_engine::sys;
use corral_engine::sys::deadline;
use corral_engine::sys::signals::Signals;
use corral_machine::console::say;
use corral_plan::lifecycle::State;
use corral_plan::resolved::Resolved;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Both sides must agree on the shape of [`Saved`].
const VERSION: u32 = 4;

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
    listener: RawFd,
    connections: Vec<SavedConnection>,
    next_connection: u64,
    containers: Vec<SavedContainer>,
    jobs: Vec<SavedJob>,
    execs: Vec<(i32, String)>,
    /// Milliseconds until each.
    timers: Vec<(u64, Timer)>,
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

#[derive(Debug, Serialize, Deserialize)]
struct SavedConnection {
    number: u64,
    socket: RawFd,
    attached: bool,
    queue: Vec<(String, Vec<RawFd>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedJob {
    pid: i32,
    socket: RawFd,
    purpose: Purpose,
    listening: bool,
    result: Option<Report>,
    made: Option<i32>,
    terminal: Option<RawFd>,
}

/// A container; see [`Container`] for what each is.
#[derive(Debug, Serialize, Deserialize)]
struct SavedContainer {
    id: String,
    spec: ContainerSpec,
    state: State,
    pid: i32,
    exit_code: i32,
    error: String,
    restarts: u32,
    failures: u32,
    times: (u64, u64, u64),
    up_for: Option<u64>,
    streams: Vec<(u8, RawFd)>,
    cleaning: Option<i32>,
    oom_killed: bool,
    paused: bool,
    health: String,
    start_again: bool,
    planned: Option<Box<ContainerSpec>>,
    preparing: bool,
    noted: bool,
    retiring: bool,
    removing: bool,
    removers: Vec<Waiting>,
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
            listener: self.listener.as_raw_fd(),
            connections: self
                .connections
                .iter()
                .map(|(number, each)| save_connection(*number, each))
                .collect(),
            next_connection: self.next_connection,
            containers: self.containers.values().map(save_container).collect(),
            jobs: self.jobs.values().map(save_job).collect(),
            execs: self.execs.iter().map(|(pid, exec)| (*pid, exec.clone())).collect(),
            timers: self.timers.iter().map(|(at, timer)| (millis_until(*at), timer.clone())).collect(),
            waiters: std::mem::take(&mut self.waiters),
            callers,
            resolved: self.resolved.clone(),
            was_resolving: self.resolver.is_some(),
            reload: std::mem::take(&mut self.reload),
            trace: self.trace.clone(),
            daemon_pid: self.daemon.pid,
            daemon_failures: self.daemon.failures,
            daemon_age: self.daemon.started.map_or(0, millis_since),
            ending: self.ending.as_ref().map(|ending| ending::action(ending.power)),
            announced: self.announced,
            age: millis_since(self.started),
        }
    }

    fn put_back(&mut self, saved: Saved, message: &str) {
        (self.waiters, self.reload) = (saved.waiters, saved.reload);
        self.bugs = saved.bugs;
        for caller in saved.callers {
            let error = corral_engine::error::EngineError::Failed(message.to_owned());
            self.answer(caller, Reply::Error(error), &[]);
        }
    }
}

/// Goes on with what an earlier process left. What makes no sense restarts the machine; comes back only if the kernel
/// refuses that.
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
    supervisor.set_timer(Duration::ZERO, Timer::Reap);
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
    let listener = sys::take_kept(saved.listener).context("the control socket is gone")?;
    let foundation = Foundation { resolved: saved.resolved, trace: saved.trace, started: ago(saved.age) };
    let mut supervisor = Supervisor::with_listener(signals, listener, foundation);
    (supervisor.resumed, supervisor.bugs) = (saved.resumed, saved.bugs);
    supervisor.next_connection = saved.next_connection;
    for connection in saved.connections {
        let number = connection.number;
        if let Some(connection) = restore_connection(connection) {
            supervisor.connections.insert(number, connection);
        }
    }
    for container in saved.containers {
        supervisor.containers.insert(container.id.clone(), restore_container(container));
    }
    for job in saved.jobs {
        if let Some(job) = restore_job(job) {
            supervisor.jobs.insert(job.helper.pid, job);
        }
    }
    supervisor.execs = saved.execs.into_iter().collect();
    let at = |left| deadline::after(Duration::from_millis(left));
    supervisor.timers = saved.timers.into_iter().map(|(left, timer)| (at(left), timer)).collect();
    (supervisor.waiters, supervisor.reload) = (saved.waiters, saved.reload);
    supervisor.daemon = Daemon {
        pid: saved.daemon_pid,
        started: saved.daemon_pid.map(|_| ago(saved.daemon_age)),
        failures: saved.daemon_failures,
    };
    supervisor.ending = saved.ending.map(|action| Ending { power: ending::power(action) });
    supervisor.announced = saved.announced;
    if saved.was_resolving {
        // The old one's child reports to nobody; a fresh one reads the same files.
        supervisor.start_resolver(&[]);
    }
    for caller in saved.callers {
        supervisor.answer(caller, Reply::Done, &[]);
    }
    Ok(supervisor)
}

impl Saved {
    /// Every descriptor that must stay open.
    fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.listener];
        all.extend(self.connections.iter().map(|connection| connection.socket));
        all.extend(
            self.connections.iter().flat_map(|connection| &connection.queue).flat_map(|(_, kept)| kept),
        );
        all.extend(self.containers.iter().flat_map(|container| &container.streams).map(|(_, stream)| stream));
        all.extend(self.jobs.iter().map(|job| job.socket));
        all.extend(self.jobs.iter().filter_map(|job| job.terminal));
        all
    }
}

fn save_connection(number: u64, connection: &Connection) -> SavedConnection {
    let queued = |(bytes, kept): &(Vec<u8>, Vec<OwnedFd>)| {
        (String::from_utf8_lossy(bytes).into_owned(), kept.iter().map(AsRawFd::as_raw_fd).collect())
    };
    SavedConnection {
        number,
        socket: connection.socket.as_raw_fd(),
        attached: connection.attached,
        queue: connection.queue.iter().map(queued).collect(),
    }
}

fn restore_connection(saved: SavedConnection) -> Option<Connection> {
    let queued = |(text, kept): (String, Vec<RawFd>)| {
        (text.into_bytes(), kept.into_iter().filter_map(sys::take_kept).collect())
    };
    Some(Connection {
        socket: sys::take_kept(saved.socket)?,
        queue: saved.queue.into_iter().map(queued).collect(),
        attached: saved.attached,
    })
}

fn save_job(job: &Job) -> SavedJob {
    SavedJob {
        pid: job.helper.pid,
        socket: std::os::fd::AsFd::as_fd(&job.helper).as_raw_fd(),
        purpose: job.purpose.clone(),
        listening: job.listening,
        result: job.result.clone(),
        made: job.made,
        terminal: job.terminal.as_ref().map(AsRawFd::as_raw_fd),
    }
}

fn restore_job(saved: SavedJob) -> Option<Job> {
    Some(Job {
        helper: Helper::adopt(saved.pid, sys::take_kept(saved.socket)?),
        purpose: saved.purpose,
        listening: saved.listening,
        result: saved.result,
        made: saved.made,
        terminal: saved.terminal.and_then(sys::take_kept),
    })
}

fn save_container(container: &Container) -> SavedContainer {
    SavedContainer {
        id: container.id.clone(),
        spec: container.spec.clone(),
        state: container.state,
        pid: container.pid,
        exit_code: container.exit_code,
        error: container.error.clone(),
        restarts: container.restarts,
        failures: container.failures,
        times: (container.created, container.started, container.finished),
        up_for: container.up_since.map(millis_since),
        streams: container.streams.iter().map(|(number, stream)| (*number, stream.as_raw_fd())).collect(),
        cleaning: container.cleaning,
        oom_killed: container.oom_killed,
        paused: container.paused,
        health: container.health.clone(),
        start_again: container.start_again,
        planned: container.planned.clone(),
        preparing: container.preparing,
        noted: container.noted,
        retiring: container.retiring,
        removing: container.removing,
        removers: container.removers.clone(),
    }
}

fn restore_container(saved: SavedContainer) -> Container {
    let (created, started, finished) = saved.times;
    let streams = saved.streams.into_iter();
    Container {
        id: saved.id,
        spec: saved.spec,
        state: saved.state,
        pid: saved.pid,
        exit_code: saved.exit_code,
        error: saved.error,
        restarts: saved.restarts,
        failures: saved.failures,
        created,
        started,
        finished,
        up_since: saved.up_for.map(ago),
        streams: streams.filter_map(|(number, fd)| Some((number, sys::take_kept(fd)?))).collect(),
        cleaning: saved.cleaning,
        oom_killed: saved.oom_killed,
        paused: saved.paused,
        health: saved.health,
        start_again: saved.start_again,
        planned: saved.planned,
        preparing: saved.preparing,
        noted: saved.noted,
        retiring: saved.retiring,
        removing: saved.removing,
        removers: saved.removers,
    }
}

fn millis_until(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0)
}

fn millis_since(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(0)
}

fn ago(millis: u64) -> Instant {
    Instant::now().checked_sub(Duration::from_millis(millis)).unwrap_or_else(Instant::now)
}
