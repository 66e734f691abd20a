//! Terminates all that runs in the console: its programs, the logins, and what users started.
//!
//! Every process gets SIGTERM. An interactive shell ignores that. As the leader of a terminal it
//! gets SIGHUP too, as if its connection were lost, and passes it on to its jobs. Clients of sshd
//! see that their connection is closed. A process that ignores both has the stop timeout of the
//! console: then PID 1 kills it.
//!
//! Clients of Docker are killed instead. `docker run` passes SIGTERM on, and `docker compose up`
//! stops its project: containers are to outlive the console.

use anyhow::{Context, Result};
use corral_engine::sys::reap;
use corral_machine::{cgroup, deadline, proc_stat};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for one process before all are listed again.
const PAUSE: Duration = Duration::from_millis(100);
/// Clients of Docker and Podman, as the kernel names their processes: 15 bytes at most.
const CLIENTS: [&str; 4] = ["docker", "docker-compose", "podman", "podman-remote"];

/// Returns when no other process is left in this container.
pub(super) fn all() -> Result<()> {
    let cgroup = cgroup::own()?;
    request_all(&cgroup)?;
    loop {
        while reap::next().is_some() {}
        let Some(first) = others(&cgroup)?.first().copied() else { return Ok(()) };
        wait_for(first)?;
    }
}

/// Signals each process once. Lists them again until no new one appears: a process may have forked
/// before its signal arrived. What one starts later, to save its work, is left alone.
fn request_all(cgroup: &Path) -> Result<()> {
    let mut signalled = HashSet::new();
    loop {
        let mut new = others(cgroup)?;
        new.retain(|pid| signalled.insert(*pid));
        if new.is_empty() {
            return Ok(());
        }
        new.into_iter().for_each(request_end);
    }
}

fn others(cgroup: &Path) -> Result<Vec<Pid>> {
    let own = rustix::process::getpid();
    let all = cgroup::processes(cgroup)?.into_iter().filter_map(Pid::from_raw);
    Ok(all.filter(|pid| *pid != own).collect())
}

/// One that has ended in the meantime needs no signal.
fn request_end(pid: Pid) {
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_pid())).unwrap_or_default();
    if CLIENTS.contains(&name.trim_end()) {
        let _ = kill_process(pid, Signal::KILL);
        return;
    }
    let leads = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()))
        .is_ok_and(|stat| leads_terminal(&stat));
    let hang_up = leads.then_some(Signal::HUP);
    // One that is stopped acts on no signal before it continues.
    for signal in [Some(Signal::TERM), hang_up, Some(Signal::CONT)].into_iter().flatten() {
        let _ = kill_process(pid, signal);
    }
}

/// Is it the leader of a session that has a terminal?
fn leads_terminal(stat: &str) -> bool {
    let [pid, session, terminal] = [1, 6, 7].map(|number| proc_stat::field(stat, number));
    session == pid && terminal.is_some_and(|terminal| terminal != "0")
}

/// Returns when it has ended, or after a moment.
fn wait_for(pid: Pid) -> Result<()> {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    let end = Instant::now() + PAUSE;
    let ended = deadline::poll(&mut [PollFd::new(&process, PollFlags::IN)], end);
    ended.map(drop).context("waiting for a process of the console")
}

#[cfg(test)]
mod tests {
    use super::leads_terminal;

    #[test]
    fn only_the_leader_of_a_terminal_is_hung_up_on() {
        for (stat, expected) in [
            ("70 (bash) S 69 70 70 34816 70 4194304 1", true),
            ("70 (a) b) S 69 70 70 1025 70 4194304 1", true),
            ("71 (sleep) S 70 71 70 34816 71 4194304 1", false),
            ("72 (sshd) S 1 72 72 0 -1 4194304 1", false),
            ("broken", false),
        ] {
            assert_eq!(leads_terminal(stat), expected, "{stat}");
        }
    }
}
