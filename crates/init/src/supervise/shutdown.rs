//! The shutdown of the machine: system containers are stopped, each once no running one depends on
//! it; then the containers of the user's Docker; then come the final steps. They come after
//! `rancher.shutdown_timeout` at the latest, even if a container hangs.

use super::final_steps;
use super::supervisor::Supervisor;
use super::timers::Timer;
use crate::lifecycle::Event;
use crate::stop_order::{self, Up};
use corral_engine::protocol::PowerAction;
use corral_machine::console::log;
use corral_machine::{deadline, program};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// The service that is the user's Docker.
const DOCKER: &str = "docker";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Shuts the machine down at a client's request.
    pub(super) fn handle_power(&mut self, action: PowerAction, force: bool) {
        if force {
            self.shutdown = Some(action);
            self.take_final_steps();
        } else {
            self.begin_shutdown(action);
        }
    }

    /// Begins to shut the machine down; a second request changes nothing.
    pub(super) fn begin_shutdown(&mut self, action: PowerAction) {
        if self.shutdown.is_some() {
            return;
        }
        let timeout = self.shutdown_timeout();
        let seconds = timeout.as_secs();
        log(&format!("shutdown ({action:?}): stopping containers, at most {seconds} s"));
        self.shutdown = Some(action);
        self.timers.set(timeout, Timer::ShutdownLate);
    }

    /// Stops each container as soon as nothing that is up waits for it.
    pub(super) fn continue_shutdown(&mut self) {
        while self.shutdown.is_some() {
            let up = self.up();
            if up.is_empty() {
                self.stop_user_containers();
                return self.take_final_steps();
            }
            let free: Vec<String> = stop_order::next(&up, &self.resolved.plan.waits_for)
                .into_iter()
                .map(str::to_owned)
                .collect();
            if free.is_empty() {
                return;
            }
            // One without a process ends at once, which may free others.
            free.iter().for_each(|id| self.handle_event(id, Event::Stop));
        }
    }

    fn up(&self) -> Vec<Up> {
        let up = self.containers.iter().filter(|container| !container.life.is_at_rest());
        let up = up.map(|container| Up {
            id: container.id().to_owned(),
            name: container.name().to_owned(),
            is_stopping: container.life.is_going_down(),
        });
        up.collect()
    }

    /// Containers of the user's Docker outlive dockerd. They have what is left of the time of a
    /// shutdown. As in the steps after it, PID 1 has nothing else to do: no client is left.
    fn stop_user_containers(&self) {
        if self.resolved.plan.get(DOCKER).is_none() {
            return;
        }
        let left = self.timers.left_of(&Timer::ShutdownLate).unwrap_or_default();
        let mut command = Command::new("/proc/self/exe");
        command.arg0("ros").arg("stop-user-containers");
        let ended = program::output(&mut command, &[], deadline::after(left));
        if let Err(error) = ended.and_then(program::Ended::success) {
            log(&format!("shutdown: stopping the containers of Docker: {error:#}"));
        }
    }

    /// The timeout is over: the final steps terminate what still runs.
    pub(super) fn shutdown_late(&mut self) {
        let names: Vec<String> = self.up().into_iter().map(|container| container.name).collect();
        let seconds = self.shutdown_timeout().as_secs();
        log(&format!("shutdown: {} did not stop within {seconds} s: killed", names.join(", ")));
        self.take_final_steps();
    }

    fn shutdown_timeout(&self) -> Duration {
        match self.resolved.config.rancher.shutdown_timeout {
            0 => DEFAULT_TIMEOUT,
            seconds => Duration::from_secs(seconds).max(SHORTEST_TIMEOUT),
        }
    }

    /// Terminates the processes that are left, unmounts the disks and makes the last system call.
    /// Returns only if the kernel refuses. Without a request (PID 1 gave up after too many bugs)
    /// the machine reboots.
    pub(super) fn take_final_steps(&mut self) {
        let action = *self.shutdown.get_or_insert(PowerAction::Reboot);
        if let Err(error) = final_steps::run(&self.signals, action) {
            log(&format!("{error:#}"));
        }
    }
}
