//! The last steps of a shutdown: what is left of processes ends, the disks are made clean, and the
//! kernel gets the last call. These steps need nothing that PID 1 knows, and each has a deadline.

use anyhow::{Error, Result};
use corral_engine::paths::SWAP_FILE;
use corral_engine::protocol::PowerAction;
use corral_engine::sys::{reap, signals};
use corral_machine::console::log;
use corral_machine::mount_table::{self, Mounted};
use corral_machine::{deadline, mounts, power, program};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

/// What containers of the user's Docker get between the first signal and the last.
const GRACE: Duration = Duration::from_secs(5);
/// A killed process first writes what it has begun, and gives up its mounts.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// For what a disk still writes before it is clean.
const DISKS: Duration = Duration::from_secs(20);
/// For file systems on the network, whose server may be gone.
const NETWORK: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Ends what runs, makes the disks clean, and does what was requested of the machine. Returns only
/// if the kernel refuses.
pub(super) fn run(signals: &signals::Signals, action: PowerAction) -> Result<()> {
    end_processes(signals);
    release_disks();
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
fn end_processes(signals: &signals::Signals) {
    send_to_all(Signal::TERM);
    if wait_for_their_end(signals, GRACE, || {}) {
        return;
    }
    // Again and again: a process may have made another one meanwhile.
    if !wait_for_their_end(signals, AFTER_KILL, || send_to_all(Signal::KILL)) {
        log(&format!("shutdown: these processes do not end: {:?}", user_processes()));
    }
}

fn send_to_all(signal: Signal) {
    for pid in user_processes().into_iter().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// False if some are left at the end of the time.
fn wait_for_their_end(
    signals: &signals::Signals,
    time: Duration,
    in_each_round: impl Fn(),
) -> bool {
    let end = deadline::after(time);
    loop {
        in_each_round();
        while reap::next().is_some() {}
        if user_processes().is_empty() {
            return true;
        }
        if deadline::left(end).is_none() {
            return false;
        }
        let pause = deadline::timespec(PAUSE);
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&pause));
    }
}

/// Every process but PID 1 and the kernel's own threads. A process is there until it is reaped:
/// only then are its files closed and its mounts gone.
fn user_processes() -> Vec<i32> {
    let Ok(items) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = items.flatten().filter_map(|item| item.file_name().to_str()?.parse::<i32>().ok());
    let is_users = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        *pid != 1 && stat.is_ok_and(|stat| !is_of_kernel(&stat))
    };
    pids.filter(is_users).collect()
}

/// The ninth field of proc_pid_stat(5) has the flags of the task.
fn is_of_kernel(stat: &str) -> bool {
    /// The kernel's name of it is PF_KTHREAD.
    const KERNEL_THREAD: u64 = 0x0020_0000;
    // The name of the program, before the last parenthesis, may have spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let flags = fields.split_whitespace().nth(6).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

/// A file system may wait for a disk or a server, and PID 1 waits for neither: a thread does.
fn release_disks() {
    let (sender, done) = mpsc::channel();
    let started = thread::Builder::new().name("disks".to_owned()).spawn(move || {
        make_clean(&sender);
        unmount_all();
        rustix::fs::sync();
        let _ = sender.send(());
    });
    let in_time = started.is_ok()
        && done.recv_timeout(DISKS + NETWORK).is_ok()
        && done.recv_timeout(NETWORK).is_ok();
    if !in_time {
        log("shutdown: a file system does not finish its writes; continuing without it");
    }
}

/// Makes the file systems of disks read-only: they write out all that they hold, and are clean.
fn make_clean(done: &Sender<()>) {
    stop_swapping();
    let end = deadline::after(DISKS);
    let mut errors = make_read_only();
    // Nothing reports when a file system is no longer in use.
    while errors.iter().any(is_busy) && deadline::left(end).is_some() {
        deadline::pause(PAUSE);
        errors = make_read_only();
    }
    for error in errors {
        log(&format!("shutdown: the disk will be checked at the next boot: {error:#}"));
    }
    let _ = done.send(());
}

fn is_busy(error: &Error) -> bool {
    error.downcast_ref() == Some(&Errno::BUSY)
}

fn make_read_only() -> Vec<Error> {
    let is_open = |mount: &Mounted| mount.is_on_disk() && !mount.is_read_only;
    let open = mount_table::load().into_iter().filter(is_open);
    open.filter_map(|mount| mounts::remount(&mount.target, true).err()).collect()
}

/// A swap file keeps its file system in use.
fn stop_swapping() {
    if let Ok(file) = fs::read_to_string(SWAP_FILE) {
        let stopped = program::run(Command::new("/usr/bin/busybox").args(["swapoff", &file]));
        let _ = stopped.inspect_err(|error| log(&format!("shutdown: {error:#}")));
    }
}

/// Unmounts file systems, innermost first: the table is in the order of mounting.
fn unmount_all() {
    let kept = ["/", "/proc", "/sys", "/dev", "/run"].map(Path::new);
    let is_kernels =
        |target: &Path| ["/proc", "/sys", "/dev"].iter().any(|folder| target.starts_with(folder));
    let targets = mount_table::load().into_iter().rev().map(|mount| mount.target);
    for target in targets.filter(|target| !kept.contains(&&**target) && !is_kernels(target)) {
        let _ = mounts::unmount(&target, false);
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_kernel;

    #[test]
    fn threads_of_the_kernel_are_no_programs() {
        assert!(is_of_kernel("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(is_of_kernel("9 (kworker/0:1) x) I 2 0 0 0 -1 69238880 0 0"));
        assert!(!is_of_kernel("77 (2129984 ) S 1) S 1 77 77 0 -1 4194560 0 0"));
        assert!(!is_of_kernel("broken"));
    }
}
