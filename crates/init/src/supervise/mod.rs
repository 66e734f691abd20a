//! What PID 1 does ever after: one thread, one poll over signals, the control socket, helpers and timers. It decides by
//! `plan::lifecycle` and `plan::graph`, has helpers do what takes time, and never waits for anything else.

mod bugs;
mod connection;
mod containers;
mod daemon;
mod ending;
mod jobs;
mod prepare;
mod reexec;
mod reload;
mod requests;
mod services;
mod table;
mod waiters;

use crate::boot::resolver::Resolver;
use crate::trace::{self, Trace};
use anyhow::{Context, Result, bail};
use bugs::{Bugs, Verdict};
use connection::Connection;
use corral_engine::paths;
use corral_engine::sys::deadline;
use corral_engine::sys::packet;
use corral_engine::sys::reap;
use corral_engine::sys::signals::{Ask, Signals};
use corral_machine::console::say;
use corral_machine::power::Power;
use corral_plan::resolved::Resolved;
use daemon::Daemon;
use ending::Ending;
use jobs::Job;
pub(crate) use reexec::resume;
use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use table::Container;
use waiters::Waiter;

/// What the boot hands over to the loop.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) resolved: Resolved,
    pub(crate) trace: Trace,
    pub(crate) started: Instant,
}

/// PID 1's whole state.
#[derive(Debug)]
pub(crate) struct Supervisor {
    signals: Signals,
    listener: OwnedFd,
    /// Clients, by a number of their own.
    connections: BTreeMap<u64, Connection>,
    /// How many there were when no descriptor was left for another.
    parked: Option<usize>,
    next_connection: u64,
    /// Containers, by id.
    containers: BTreeMap<String, Container>,
    /// Helpers at work, by process id.
    jobs: HashMap<i32, Job>,
    /// Processes in containers that were asked for: process id → id of the exec.
    execs: HashMap<i32, String>,
    timers: Vec<(Instant, Timer)>,
    /// Clients that wait for something to happen to a container.
    waiters: Vec<Waiter>,
    /// Somebody wants PID 1 to execute its binary again.
    reexec: Option<reexec::Wish>,
    /// How often it did.
    resumed: u32,
    bugs: Bugs,
    resolved: Resolved,
    resolver: Option<Resolver>,
    reload: reload::Reload,
    trace: Trace,
    daemon: Daemon,
    ending: Option<Ending>,
    announced: bool,
    /// What keeps services from being started, as it was said.
    obstacles: BTreeSet<String>,
    started: Instant,
}

/// What comes at a certain time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Timer {
    /// The pause before the restart of a container is over.
    PauseOver(String),
    /// The grace of a container that was asked to stop is over.
    GraceOver(String),
    /// A helper takes too long.
    HelperLate(i32),
    /// Start the engine daemon again.
    StartDaemon,
    /// A change should have been confirmed by now.
    ConfirmLate,
    /// The resolver should have said all by now.
    ResolverLate,
    /// The machine should have ended by now.
    EndingLate,
    /// There may be a descriptor for another client again.
    Accept,
    /// Children may have ended while PID 1 was replaced.
    Reap,
}

/// Who is to be looked after, in the order of the descriptors polled.
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Helper(i32),
    Resolver,
}

impl Supervisor {
    /// Opens the control socket and takes over from the boot.
    pub(crate) fn new(signals: Signals, foundation: Foundation) -> Result<Supervisor> {
        std::fs::create_dir_all("/run/corral").context("making /run/corral")?;
        let listener =
            packet::listen_at(Path::new(paths::CONTROL_SOCKET)).context("opening the control socket")?;
        let _ = std::fs::set_permissions(
            paths::CONTROL_SOCKET,
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        );
        Ok(Supervisor::with_listener(signals, listener, foundation))
    }

    fn with_listener(signals: Signals, listener: OwnedFd, foundation: Foundation) -> Supervisor {
        Supervisor {
            signals,
            listener,
            connections: BTreeMap::new(),
            parked: None,
            next_connection: 1,
            containers: BTreeMap::new(),
            jobs: HashMap::new(),
            execs: HashMap::new(),
            timers: Vec::new(),
            waiters: Vec::new(),
            reexec: None,
            resumed: 0,
            bugs: Bugs::default(),
            resolved: foundation.resolved,
            resolver: None,
            reload: reload::Reload::default(),
            trace: foundation.trace,
            daemon: Daemon::default(),
            ending: None,
            announced: false,
            obstacles: BTreeSet::new(),
            started: foundation.started,
        }
    }

    /// Starts what the machine is for, and never comes back: an error in one turn is reported and does not end it. What can
    /// go wrong is done in the loop, where a bug is survived.
    pub(crate) fn run(&mut self) -> Result<()> {
        self.set_timer(Duration::ZERO, Timer::StartDaemon);
        self.watch_confirmation(self.resolved.confirm_within);
        self.go_on()
    }

    /// The loop. A bug in one turn is reported as well, and PID 1 then goes on in a new process with all that it knows;
    /// bugs without end restart the machine.
    fn go_on(&mut self) -> Result<()> {
        loop {
            let turn = catch_unwind(AssertUnwindSafe(|| {
                self.execute_again_if_wanted();
                self.turn()
            }));
            match turn {
                Ok(Ok(())) => {}
                Ok(Err(error)) => say(&format!("PID 1: {error:#}")),
                // The hook has reported what it was.
                Err(_) if self.bugs.met(trace::now()) == Verdict::GiveUp => return self.give_up(),
                Err(_) => drop(self.reexec.get_or_insert_default()),
            }
        }
    }

    /// Nothing that PID 1 knows is trusted any more. Comes back only if the machine cannot restart.
    fn give_up(&mut self) -> Result<()> {
        say("PID 1 meets one bug after the other: the machine restarts");
        if catch_unwind(AssertUnwindSafe(|| self.end_now())).is_err() {
            ending::restart_at_once();
        }
        bail!("the machine could not be restarted")
    }

    fn turn(&mut self) -> Result<()> {
        #[cfg(feature = "test-hooks")]
        bugs::break_if_asked();
        for source in self.wait()? {
            match source {
                Source::Signals => self.take_signals(),
                Source::Listener => self.accept(),
                Source::Connection(number) => self.serve(number),
                Source::Helper(pid) => self.hear_helper(pid),
                Source::Resolver => self.hear_resolver(),
            }
        }
        self.fire_timers();
        self.start_services();
        self.answer_settled();
        self.forget_gone();
        self.go_on_ending();
        Ok(())
    }

    /// Waits for the next thing to do.
    fn wait(&self) -> Result<Vec<Source>> {
        let mut sources = vec![Source::Signals];
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if self.is_listening() {
            sources.push(Source::Listener);
            polled.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        for (number, connection) in &self.connections {
            sources.push(Source::Connection(*number));
            polled.push(PollFd::new(connection, connection.interest()));
        }
        for (pid, job) in &self.jobs {
            if job.listening {
                sources.push(Source::Helper(*pid));
                polled.push(PollFd::new(&job.helper, PollFlags::IN));
            }
        }
        if let Some(resolver) = &self.resolver {
            sources.push(Source::Resolver);
            polled.push(PollFd::from_borrowed_fd(resolver.as_fd(), PollFlags::IN));
        }
        let timeout = self.next_timer().map(deadline::timespec);
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for something to do"),
        }
        let ready = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>();
        Ok(sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)).collect())
    }

    fn next_timer(&self) -> Option<Duration> {
        let next = self.timers.iter().map(|(at, _)| *at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn set_timer(&mut self, after: Duration, timer: Timer) {
        self.clear_timer(&timer);
        self.timers.push((deadline::after(after), timer));
    }

    fn clear_timer(&mut self, timer: &Timer) {
        self.timers.retain(|(_, other)| other != timer);
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.timers.drain(..).partition(|(at, _)| *at <= now);
        self.timers = later;
        for (_, timer) in due {
            match timer {
                Timer::PauseOver(id) => self.pause_over(&id),
                Timer::GraceOver(id) => self.grace_over(&id),
                Timer::HelperLate(pid) => self.helper_late(pid),
                Timer::StartDaemon => self.start_daemon(),
                Timer::ConfirmLate => self.confirm_late(),
                Timer::ResolverLate => self.resolver_late(),
                Timer::EndingLate => self.end_now(),
                Timer::Accept => self.accept(),
                Timer::Reap => self.reap(),
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(ask) = self.signals.take() {
            match ask {
                Ask::Reap => self.reap(),
                Ask::Reboot => self.end(Power::Reboot),
                Ask::PowerOff => self.end(Power::PowerOff),
                Ask::Halt => self.end(Power::Halt),
            }
        }
    }

    /// Takes the exit status of every child that ended; orphans of containers among them, which mean nothing here.
    fn reap(&mut self) {
        while let Some(end) = reap::next() {
            // A helper tells the process id of what it made before it ends, and only then is that our child.
            let helpers: Vec<i32> = self.jobs.keys().copied().collect();
            helpers.into_iter().for_each(|pid| self.hear_helper(pid));
            if self.jobs.contains_key(&end.pid) {
                self.helper_ended(end);
            } else if let Some(exec) = self.execs.remove(&end.pid) {
                self.exec_ended(exec, end.code);
            } else if self.daemon.pid == Some(end.pid) {
                self.daemon_ended(end.code);
            } else if let Some(id) = self.container_of(end.pid) {
                self.process_ended(&id, end.code);
            }
        }
    }
}
