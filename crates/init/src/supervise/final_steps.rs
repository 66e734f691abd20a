//! The last steps of a shutdown: what is left of processes ends, the disks are made clean, and the
//! kernel gets the last call. These steps need nothing that PID 1 knows.

use anyhow::Result;
use corral_engine::protocol::PowerAction;
use corral_engine::sys::{reap, signals};
use corral_machine::console::log;
use corral_machine::deadline;
use corral_machine::{mounts, power};
use rustix::event::{PollFd, PollFlags, poll};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What containers of the user's Docker get between the first signal and the last.
const GRACE: Duration = Duration::from_secs(5);

/// Ends what runs, makes the disks clean, and does what was requested of the machine. Returns only
/// if the kernel refuses.
pub(super) fn run(signals: &signals::Signals, action: PowerAction) -> Result<()> {
    end_processes(signals);
    unmount_disks();
    rustix::fs::sync();
    log(&format!("{action:?}"));
    match action {
        PowerAction::Reboot => power::reboot(),
        PowerAction::PowerOff => power::power_off(),
        PowerAction::Halt => power::halt(),
        PowerAction::Kexec => power::start_loaded_kernel().or_else(|error| {
            log(&format!("{error:#}"));
            power::reboot()
        }),
    }
}

/// Restarts a machine whose PID 1 has lost what it knew. The processes end, and the disks are made
/// clean as far as that can be done. Returns only if the kernel refuses.
pub(super) fn restart(why: &str) {
    log(&format!("PID 1 cannot continue: {why}; rebooting"));
    match signals::Signals::open() {
        Ok(signals) => {
            let ended = run(&signals, PowerAction::Reboot);
            let _ = ended.inspect_err(|error| log(&format!("{error:#}")));
        }
        Err(_) => restart_at_once(),
    }
}

/// When even that went wrong.
pub(super) fn restart_at_once() {
    rustix::fs::sync();
    let _ = power::reboot().inspect_err(|error| log(&format!("{error:#}")));
}

/// Sends SIGTERM to every process that is left, then SIGKILL. Containers of the user's Docker are
/// among them.
fn end_processes(signals_fd: &signals::Signals) {
    for (signal, patience) in [(15, GRACE), (9, Duration::from_secs(2))] {
        let Some(signal) = rustix::process::Signal::from_named_raw(signal) else { continue };
        send_to_all(signal);
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

/// Unmounts file systems, innermost first. If the state disk is still busy, it is made read-only,
/// which leaves it clean as well.
fn unmount_disks() {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut targets: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    targets.reverse();
    let kept = ["/", "/proc", "/sys", "/dev", "/run"];
    for target in targets.into_iter().filter(|target| !kept.contains(target)) {
        if !target.starts_with("/proc/")
            && !target.starts_with("/sys/")
            && !target.starts_with("/dev/")
        {
            // What is mounted below it was unmounted before it: the table is in the order of
            // mounting.
            let _ = mounts::unmount(Path::new(target), false);
        }
    }
    if mounts::is_mount_point(Path::new("/state")) {
        let _ = mounts::remount(Path::new("/state"), true).inspect_err(|error| {
            log(&format!("the state disk will be checked at the next boot: {error:#}"))
        });
    }
}
