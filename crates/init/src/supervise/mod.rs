//! What PID 1 does after the boot: one thread, one poll over signals, the control socket, helpers
//! and timers. It decides by `lifecycle` and `plan::graph`, has helpers do what takes time, and
//! never waits for anything else.
//!
//! `supervisor` holds the state, in parts that own what is theirs. The files of the parts know
//! nothing of each other. Those with an `impl Supervisor` wire them together, each for one kind of
//! event.

mod bugs;
mod calls;
mod clients;
mod configuration;
mod container;
mod containers;
mod daemon;
mod final_steps;
mod jobs;
mod moment;
mod prepare;
mod reexec;
mod reload;
mod reports;
mod requests;
mod services;
mod shutdown;
mod supervisor;
mod table;
mod timers;

use crate::lifecycle::Event;
use crate::trace;
use anyhow::{Context, Result, bail};
use bugs::Verdict;
use corral_engine::sys::reap;
use corral_engine::sys::signals::SignalAction;
use corral_machine::console::log;
use corral_machine::deadline;
pub(crate) use reexec::{NAME, resume};
use rustix::event::{PollFd, PollFlags, poll};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
pub(crate) use supervisor::{BootContext, Supervisor};
use timers::Timer;

/// Which part has something to read, in the order of the descriptors polled.
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Helper(i32),
    Resolver,
}

impl Supervisor {
    /// Runs the loop. Returns only if PID 1 gives up and the machine cannot restart: an error in
    /// one turn is reported and does not end the loop. All that can fail is done within the
    /// loop, which survives a panic.
    pub(crate) fn run(&mut self) -> Result<()> {
        self.timers.set(Duration::ZERO, Timer::StartDaemon);
        self.watch_confirmation(self.resolved.unconfirmed.clone());
        self.run_loop()
    }

    /// The loop. A bug in one turn is reported as well. PID 1 then goes on in a new process with
    /// all that it knows; bugs without end restart the machine.
    fn run_loop(&mut self) -> Result<()> {
        loop {
            let turn = catch_unwind(AssertUnwindSafe(|| {
                self.execute_again_if_requested();
                self.run_once()
            }));
            match turn {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log(&format!("PID 1: {error:#}")),
                // The hook has reported what it was.
                Err(_) if self.bugs.met(trace::now()) == Verdict::GiveUp => return self.give_up(),
                Err(_) => drop(self.reexec.get_or_insert_default()),
            }
        }
    }

    /// Nothing that PID 1 knows is trusted any more. Comes back only if the machine cannot restart.
    fn give_up(&mut self) -> Result<()> {
        log("too many bugs in PID 1: rebooting");
        if catch_unwind(AssertUnwindSafe(|| self.take_final_steps())).is_err() {
            final_steps::restart_at_once();
        }
        bail!("the machine could not be rebooted")
    }

    fn run_once(&mut self) -> Result<()> {
        #[cfg(feature = "test-hooks")]
        bugs::break_if_requested();
        for source in self.wait()? {
            match source {
                Source::Signals => self.take_signals(),
                Source::Listener => self.accept(),
                Source::Connection(number) => self.serve(number),
                Source::Helper(pid) => self.read_helper(pid),
                Source::Resolver => self.read_resolver(),
            }
        }
        self.fire_timers();
        self.start_services();
        self.answer_settled();
        self.forget_gone();
        self.continue_shutdown();
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
        if let Some(output) = self.reload.output() {
            sources.push(Source::Resolver);
            polled.push(PollFd::from_borrowed_fd(output, PollFlags::IN));
        }
        let timeout = self.timers.left().map(deadline::timespec);
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for events"),
        }
        let ready = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>();
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter_map(|(source, ready)| ready.then_some(source))
            .collect())
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                // In a shutdown nothing starts any more.
                Timer::BackoffOver(_) if self.shutdown.is_some() => {}
                Timer::BackoffOver(id) => self.handle_event(&id, Event::BackoffOver),
                Timer::GraceOver(id) => self.grace_over(&id),
                Timer::HelperLate(helper) => self.jobs.give_up(helper),
                Timer::StartDaemon => self.start_daemon(),
                Timer::ConfirmLate(change) => self.confirm_late(change),
                Timer::ResolverLate => self.resolver_late(),
                Timer::ShutdownLate => self.shutdown_late(),
                Timer::Accept => self.accept(),
                Timer::Reap => self.reap(),
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(action) = self.signals.take() {
            match action {
                SignalAction::Reap => self.reap(),
                SignalAction::Power(action) => self.begin_shutdown(action),
            }
        }
    }

    /// Takes the exit status of every child that ended. Orphans of containers are among them, and
    /// mean nothing here.
    fn reap(&mut self) {
        while let Some(end) = reap::next() {
            // A helper reports the process id of what it made before it ends. Only when the helper
            // has ended is that process our child.
            self.jobs.helpers().into_iter().for_each(|helper| self.read_helper(helper));
            if self.jobs.has(end.pid) {
                self.helper_ended(end);
            } else if let Some(exec) = self.jobs.take_exec(end.pid) {
                self.exec_ended(exec, end.code);
            } else if self.daemon.pid() == Some(end.pid) {
                let backoff = self.daemon.ended(end.code);
                self.timers.set(backoff, Timer::StartDaemon);
            } else if let Some(id) = self.containers.of_process(end.pid) {
                self.process_ended(&id, end.code);
            }
        }
    }

    fn start_daemon(&mut self) {
        let proxies = self.resolved.config.rancher.network.proxy_environment();
        if let Some(backoff) = self.daemon.start(proxies) {
            self.timers.set(backoff, Timer::StartDaemon);
        }
    }
}
