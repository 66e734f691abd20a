//! What PID 1 does ever after: one thread, one poll over signals, the control socket, helpers and timers. It decides by
//! `plan::lifecycle` and `plan::graph`, has helpers do what takes time, and never waits for anything else.

mod age;
mod bugs;
mod calls;
mod clients;
mod containers;
mod daemon;
mod ending;
mod jobs;
mod prepare;
mod reexec;
mod reload;
mod reports;
mod requests;
mod services;
mod table;
mod timers;
mod waiters;

use crate::boot::resolver::Resolver;
use crate::trace::{self, Trace};
use anyhow::{Context, Result, bail};
use bugs::{Bugs, Verdict};
use clients::Clients;
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
use jobs::Jobs;
pub(crate) use reexec::resume;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use table::Containers;
use timers::{Timer, Timers};
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
    clients: Clients,
    containers: Containers,
    jobs: Jobs,
    timers: Timers,
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
        Ok(Supervisor::with_clients(signals, Clients::new(listener), foundation))
    }

    fn with_clients(signals: Signals, clients: Clients, foundation: Foundation) -> Supervisor {
        Supervisor {
            signals,
            clients,
            containers: Containers::default(),
            jobs: Jobs::default(),
            timers: Timers::default(),
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
        self.timers.set(Duration::ZERO, Timer::StartDaemon);
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
        if let Some(listener) = self.clients.listener() {
            sources.push(Source::Listener);
            polled.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
        }
        for (number, client) in self.clients.polled() {
            sources.push(Source::Connection(number));
            polled.push(client);
        }
        for (pid, helper) in self.jobs.polled() {
            sources.push(Source::Helper(pid));
            polled.push(helper);
        }
        if let Some(resolver) = &self.resolver {
            sources.push(Source::Resolver);
            polled.push(PollFd::from_borrowed_fd(resolver.as_fd(), PollFlags::IN));
        }
        let timeout = self.timers.left().map(deadline::timespec);
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for something to do"),
        }
        let ready = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>();
        Ok(sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)).collect())
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::PauseOver(id) => self.pause_over(&id),
                Timer::GraceOver(id) => self.grace_over(&id),
                Timer::HelperLate(helper) => self.jobs.give_up(helper),
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
            self.jobs.helpers().into_iter().for_each(|helper| self.hear_helper(helper));
            if self.jobs.has(end.pid) {
                self.helper_ended(end);
            } else if let Some(exec) = self.jobs.take_exec(end.pid) {
                self.exec_ended(exec, end.code);
            } else if self.daemon.pid == Some(end.pid) {
                self.daemon_ended(end.code);
            } else if let Some(id) = self.containers.of_process(end.pid) {
                self.process_ended(&id, end.code);
            }
        }
    }
}
