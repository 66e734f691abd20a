//! The end of the machine: containers are stopped, those first that wait for others; then what is left of processes;
//! then the disks are made clean. Whatever hangs, the machine ends after `rancher.shutdown_timeout`.

use super::Supervisor;
use super::timers::Timer;
use anyhow::Result;
use corral_engine::protocol::PowerAction;
use corral_engine::sys::{deadline, reap, signals};
use corral_machine::console::say;
use corral_machine::mounts;
use corral_machine::power::Power;
use corral_plan::lifecycle::Event;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What containers of the user's Docker get between the first signal and the last.
const GRACE: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: u64 = 60;
const SHORTEST_TIMEOUT: u64 = 5;

/// The machine is ending.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) power: Power,
}

/// What a client asked for.
pub(super) fn power(action: PowerAction) -> Power {
    match action {
        PowerAction::Reboot => Power::Reboot,
        PowerAction::PowerOff => Power::PowerOff,
        PowerAction::Halt => Power::Halt,
        PowerAction::Kexec => Power::Kexec,
    }
}

/// The wish that an ending came from.
pub(super) fn action(power: Power) -> PowerAction {
    match power {
        Power::Reboot => PowerAction::Reboot,
        Power::PowerOff => PowerAction::PowerOff,
        Power::Halt => PowerAction::Halt,
        Power::Kexec => PowerAction::Kexec,
    }
}

impl Supervisor {
    /// Ends the machine on a client's wish.
    pub(super) fn handle_power(&mut self, power: Power, force: bool) {
        if force {
            self.ending = Some(Ending { power });
            self.end_now();
        } else {
            self.end(power);
        }
    }

    /// Begins to end the machine; a second wish changes nothing.
    pub(super) fn end(&mut self, power: Power) {
        if self.ending.is_some() {
            return;
        }
        let timeout = match self.resolved.config.rancher.shutdown_timeout {
            0 => DEFAULT_TIMEOUT,
            seconds => seconds.max(SHORTEST_TIMEOUT),
        };
        say(&format!("ending ({power:?}): stopping containers, at most {timeout} s"));
        self.ending = Some(Ending { power });
        self.timers.set(Duration::from_secs(timeout), Timer::EndingLate);
    }

    /// Stops each container as soon as nothing that runs waits for it.
    pub(super) fn go_on_ending(&mut self) {
        if self.ending.is_none() {
            return;
        }
        let up: Vec<(String, String, bool)> = self
            .containers
            .iter()
            .filter(|container| !container.is_down())
            .map(|container| (container.id.clone(), container.spec.name.clone(), is_stopping(container)))
            .collect();
        if up.is_empty() {
            return self.end_now();
        }
        let waits_for = &self.resolved.plan.waits_for;
        let is_needed = |name: &String| {
            up.iter().any(|(_, other, _)| waits_for.get(other).is_some_and(|names| names.contains(name)))
        };
        let free: Vec<String> = up
            .iter()
            .filter(|(_, name, stopping)| !stopping && !is_needed(name))
            .map(|(id, _, _)| id.clone())
            .collect();
        for id in free {
            self.happen(&id, Event::Stop);
        }
    }

    /// The last steps. From here on there is nothing to wait for but the disks. Comes back if the kernel refuses.
    pub(super) fn end_now(&mut self) {
        let power = self.ending.take().map_or(Power::Reboot, |ending| ending.power);
        if let Err(error) = finish(&self.signals, power) {
            say(&format!("{error:#}"));
            self.ending = Some(Ending { power });
        }
    }
}

/// Ends what runs, makes the disks clean, and the machine does what was asked.
fn finish(signals: &signals::Signals, power: Power) -> Result<()> {
    end_processes(signals);
    unmount_disks();
    rustix::fs::sync();
    say(&format!("{power:?}"));
    power.act().or_else(|error| {
        say(&format!("{error:#}"));
        if power == Power::Kexec { Power::Reboot.act() } else { Err(error) }
    })
}

/// Restarts a machine whose PID 1 has lost what it knew: the processes end, and the disks are made clean as far as
/// that can be done. Comes back only if the kernel refuses.
pub(super) fn restart(why: &str) {
    say(&format!("PID 1 cannot go on: {why}; the machine restarts"));
    match signals::Signals::open() {
        Ok(signals) => drop(finish(&signals, Power::Reboot).inspect_err(|error| say(&format!("{error:#}")))),
        Err(_) => restart_at_once(),
    }
}

/// When even that went wrong.
pub(super) fn restart_at_once() {
    rustix::fs::sync();
    let _ = Power::Reboot.act().inspect_err(|error| say(&format!("{error:#}")));
}

fn is_stopping(container: &super::table::Container) -> bool {
    container.state == corral_plan::lifecycle::State::Stopping || container.cleaning.is_some()
}

/// Asks every process that is left to end, then makes it: containers of the user's Docker are among them.
fn end_processes(signals_fd: &signals::Signals) {
    for (signal, patience) in [(15, GRACE), (9, Duration::from_secs(2))] {
        let everybody = rustix::process::Signal::from_named_raw(signal);
        let Some(everybody) = everybody else { continue };
        send_to_all(everybody);
        let end = deadline::after(patience);
        while has_processes() {
            while reap::next().is_some() {}
            if deadline::left(end).is_none() {
                break;
            }
            let pause = deadline::timespec(Duration::from_millis(50));
            let _ = poll(&mut [PollFd::new(signals_fd, PollFlags::IN)], Some(&pause));
        }
    }
}

fn send_to_all(signal: rustix::process::Signal) {
    for pid in user_processes() {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Every process but PID 1 and the kernel's own threads, which have no command line.
fn user_processes() -> Vec<i32> {
    let Ok(items) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = items.flatten().filter_map(|item| item.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != 1)
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()))
        .collect()
}

fn has_processes() -> bool {
    !user_processes().is_empty()
}

/// Unmounts what is on disks, innermost first; what is still busy is made read-only, which leaves it clean as well.
fn unmount_disks() {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut targets: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    targets.reverse();
    let kept = ["/", "/proc", "/sys", "/dev", "/run"];
    for target in targets.into_iter().filter(|target| !kept.contains(target)) {
        if !target.starts_with("/proc/") && !target.starts_with("/sys/") && !target.starts_with("/dev/") {
            // Whatever is below it was unmounted before it: the table is in the order of mounting.
            let _ = mounts::unmount(Path::new(target), false);
        }
    }
    if mounts::is_mount_point(Path::new("/state")) {
        let _ = mounts::remount(Path::new("/state"), true)
            .inspect_err(|error| say(&format!("the state disk will be checked at the next boot: {error:#}")));
    }
}
