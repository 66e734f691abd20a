//! The last steps of a shutdown: what is left of processes ends, the disks are made clean, and the
//! kernel gets the last call. These steps need nothing that PID 1 knows, and each has a deadline.

use anyhow::{Error, Result};
use corral_engine::paths::BUSYBOX;
use corral_engine::protocol::PowerAction;
use corral_engine::sys::{loop_devices, reap, signals};
use corral_machine::console::log;
use corral_machine::mount_table::{self, Mounted};
use corral_machine::{deadline, mounts, power, proc_stat, program};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Between the first signal to the processes that are left and the last.
const GRACE: Duration = Duration::from_secs(5);
/// A killed process first writes what it has begun, and gives up its mounts.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// For disks that write nothing and are not clean; then the same for the disks of servers.
const DISKS: Duration = Duration::from_secs(20);
/// For file systems on the network, whose server may be gone.
const NETWORK: Duration = Duration::from_secs(10);
/// For what has to be read again from a swap file.
const SWAP: Duration = Duration::from_secs(15);
/// Nothing takes longer than this, even if it makes progress.
const LONGEST: Duration = Duration::from_secs(900);
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

/// Sends SIGTERM to every process that is left, then SIGKILL. If the shutdown is forced, all
/// containers are among them.
fn end_processes(signals: &signals::Signals) {
    send_to_all(Signal::TERM);
    // One that is stopped acts on no signal before it continues.
    send_to_all(Signal::CONT);
    if wait_for_their_end(signals, Progress::begin(GRACE, GRACE), || {}) {
        return;
    }
    let (left, seconds) = (names_of_processes(), GRACE.as_secs());
    log(&format!("shutdown: these processes did not end within {seconds} s: killed: {left}"));
    // The last process of a container writes out what was mounted there: as long as it does, it has
    // time. Signalled again and again: a process may have made another one meanwhile.
    let killed = Progress::begin(AFTER_KILL, LONGEST);
    if !wait_for_their_end(signals, killed, || send_to_all(Signal::KILL)) {
        log(&format!("shutdown: these processes do not end: {}", names_of_processes()));
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
    time: Progress,
    in_each_round: impl Fn(),
) -> bool {
    time.wait(|| {
        in_each_round();
        while reap::next().is_some() {}
        let are_gone = user_processes().is_empty();
        if !are_gone {
            let pause = deadline::timespec(PAUSE);
            let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&pause));
        }
        are_gone
    })
}

/// A wait that gets more time whenever less is unwritten than before.
struct Progress {
    timeout: Duration,
    end: Instant,
    at_the_latest: Instant,
    unwritten: u64,
}

impl Progress {
    fn begin(timeout: Duration, longest: Duration) -> Progress {
        let (end, at_the_latest) = (deadline::after(timeout), deadline::after(longest));
        Progress { timeout, end, at_the_latest, unwritten: unwritten() }
    }

    /// Repeats an attempt, which takes a moment, until it succeeds; false if time is over.
    fn wait(mut self, mut attempt: impl FnMut() -> bool) -> bool {
        while !attempt() {
            self.note(unwritten());
            if deadline::left(self.end).is_none() {
                return false;
            }
        }
        true
    }

    fn note(&mut self, unwritten: u64) {
        if unwritten < self.unwritten {
            self.unwritten = unwritten;
            self.end = deadline::after(self.timeout).min(self.at_the_latest);
        }
    }
}

/// What is in memory and belongs on a disk or a server, in KiB: proc_meminfo(5).
fn unwritten() -> u64 {
    sum_of(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), &["Dirty:", "Writeback:"])
}

fn sum_of(meminfo: &str, names: &[&str]) -> u64 {
    let value = |line: &str| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        let value = value.split_whitespace().next()?;
        names.contains(&name).then(|| value.parse::<u64>().ok())?
    };
    meminfo.lines().filter_map(value).sum()
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

/// For the console: `sleep (812), sh (810)`.
fn names_of_processes() -> String {
    /// There may be thousands.
    const MOST: usize = 20;
    let describe = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{} ({pid})", name.trim_end())
    };
    let pids = user_processes();
    let mut names: Vec<String> = pids.iter().take(MOST).map(describe).collect();
    if pids.len() > MOST {
        names.push(format!("{} more", pids.len() - MOST));
    }
    names.join(", ")
}

fn is_of_kernel(stat: &str) -> bool {
    /// The kernel's name of it is PF_KTHREAD.
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let flags = proc_stat::field(stat, 9).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

/// A file system may wait for a disk or a server, and PID 1 waits for neither: a thread does. As
/// long as less and less is unwritten, it has time.
fn release_disks() {
    // A PID 1 of namespaces sees disks that are not its own.
    if !is_of_machine() {
        return;
    }
    let (sender, done) = mpsc::channel();
    let started = thread::Builder::new().name("disks".to_owned()).spawn(move || {
        sync_disks(Location::Local);
        stop_swapping();
        for location in [Location::Local, Location::Server] {
            sync_disks(location);
            make_clean(location);
            let _ = sender.send(());
        }
        unmount(|_| true);
        rustix::fs::sync();
        let _ = sender.send(());
    });
    let in_time = |time| Progress::begin(time, LONGEST).wait(|| done.recv_timeout(PAUSE).is_ok());
    if started.is_err() || ![DISKS, DISKS, NETWORK].into_iter().all(in_time) {
        log("shutdown: a file system does not finish its writes; continuing without it");
    }
}

/// Is this PID 1 that of the kernel, and not one of a namespace?
fn is_of_machine() -> bool {
    /// The kernel's name of it is PID_NS_INIT_INO.
    const FIRST_NAMESPACE: u64 = 0xEFFF_FFFC;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == FIRST_NAMESPACE)
}

/// Where a disk is. Those of servers come last: a server may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Location {
    Local,
    Server,
}

impl Location {
    fn of(mount: &Mounted) -> Location {
        let device = Path::new("/sys/dev/block").join(&mount.device);
        if is_of_server(&device, MOST_LAYERS) { Location::Server } else { Location::Local }
    }
}

/// Disks that are made of disks that are made of disks: LUKS on LVM on RAID.
const MOST_LAYERS: u32 = 5;

/// Is a block device one of iSCSI, NBD or Ceph, or made of such? By its folder in sysfs.
fn is_of_server(device: &Path, layers: u32) -> bool {
    let Ok(path) = fs::canonicalize(device) else { return false };
    let names = path.components().filter_map(|name| name.as_os_str().to_str());
    let of_servers = |name: &str| {
        ["session", "nbd", "rbd"].iter().any(|start| {
            name.strip_prefix(start)
                .is_some_and(|rest| rest.starts_with(|it: char| it.is_numeric()))
        })
    };
    let parts = fs::read_dir(path.join("slaves")).into_iter().flatten().flatten();
    names.into_iter().any(of_servers)
        || (layers > 0 && parts.into_iter().any(|part| is_of_server(&part.path(), layers - 1)))
}

/// What can be written to on disks.
fn disks() -> Vec<Mounted> {
    let is_open = |mount: &Mounted| mount.is_on_disk() && !mount.is_read_only;
    mount_table::load().into_iter().filter(is_open).collect()
}

fn disks_at(location: Location) -> impl Iterator<Item = Mounted> {
    disks().into_iter().filter(move |mount| Location::of(mount) == location)
}

/// Each by itself: `sync` would begin with the one that hangs.
fn sync_disks(location: Location) {
    for mount in disks_at(location) {
        // A pipe of the owner's that is mounted somewhere would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&mount.target, flags, Mode::empty());
        let _ = opened.map(rustix::fs::syncfs);
    }
}

/// A swap file keeps its file system in use.
fn stop_swapping() {
    // What was in memory only need not be read again.
    for target in ["/tmp", "/dev/shm"] {
        let _ = mounts::unmount(Path::new(target), false);
    }
    let disks = disks();
    for file in swap_files(&fs::read_to_string("/proc/swaps").unwrap_or_default()) {
        // The kernel shows its path in a mount that may be gone.
        let below = |mount: &Mounted| mount.target.join(file.strip_prefix("/").unwrap_or(&file));
        let paths = disks.iter().map(below).chain([file.clone()]).filter(|path| path.exists());
        let mut command = Command::new(BUSYBOX);
        // All but one are other files, which it reports.
        let _ = program::output(command.arg("swapoff").args(paths), &[], deadline::after(SWAP));
    }
}

/// The files among what the kernel swaps to, and the loop devices, which have files. The kernel
/// shows the path of a device without `/dev` if the console's mount of that is gone.
fn swap_files(swaps: &str) -> Vec<PathBuf> {
    let file = |line: &str| {
        let mut words = line.split_whitespace();
        let path = words.next().map(|path| PathBuf::from(mount_table::unescape(path)))?;
        let device = Path::new("/dev").join(path.file_name()?);
        let is_loop = device.to_string_lossy().starts_with("/dev/loop");
        match words.next()? {
            "file" => Some(path),
            "partition" if is_loop => Some(device),
            _ => None,
        }
    };
    swaps.lines().filter_map(file).collect()
}

/// Makes the file systems of disks read-only: they write out all that they hold, and are clean.
fn make_clean(location: Location) {
    let end = deadline::after(DISKS);
    let mut errors = make_read_only(location);
    // Nothing reports when a file system is no longer in use.
    while errors.iter().any(is_busy) && deadline::left(end).is_some() {
        // The file of a loop device is in use until what is on it is unmounted, and after that
        // too, unless the device gives it up by itself.
        unmount(|mount| mount.is_on_disk() && Location::of(mount) == location);
        detach_loop_devices();
        deadline::pause(PAUSE);
        errors = make_read_only(location);
    }
    for error in errors {
        log(&format!("shutdown: the disk will be checked at the next boot: {error:#}"));
    }
}

fn detach_loop_devices() {
    for device in loop_devices::attached() {
        let opened = rustix::fs::open(&device, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let _ = opened.and_then(|device| loop_devices::detach(&device));
    }
}

fn is_busy(error: &Error) -> bool {
    error.downcast_ref() == Some(&Errno::BUSY)
}

fn make_read_only(location: Location) -> Vec<Error> {
    disks_at(location).filter_map(|mount| mounts::remount(&mount.target, true).err()).collect()
}

/// Unmounts those file systems, innermost first: the table is in the order of mounting.
fn unmount(are_meant: impl Fn(&Mounted) -> bool) {
    let kept = ["/", "/proc", "/sys", "/dev", "/run"].map(Path::new);
    let is_kernels =
        |target: &Path| ["/proc", "/sys", "/dev"].iter().any(|folder| target.starts_with(folder));
    let meant = mount_table::load().into_iter().rev().filter(are_meant);
    let targets = meant.map(|mount| mount.target);
    for target in targets.filter(|target| !kept.contains(&&**target) && !is_kernels(target)) {
        let _ = mounts::unmount(&target, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_of_servers_are_known_by_their_folder() {
        let root = std::env::temp_dir().join(format!("corral-disks-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let make = |path: &str| {
            fs::create_dir_all(root.join(path)).unwrap();
            root.join(path)
        };
        let iscsi = make("platform/host2/session1/target2:0:0/2:0:0:0/block/sdb");
        let local = make("pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sda");
        let network_block = make("virtual/block/nbd0");
        let mapped = make("virtual/block/dm-0");
        let link = make("virtual/block/dm-0/slaves").join("sdb");
        std::os::unix::fs::symlink(&iscsi, link).unwrap();
        for (device, expected) in
            [(&iscsi, true), (&local, false), (&network_block, true), (&mapped, true)]
        {
            assert_eq!(is_of_server(device, 1), expected, "{}", device.display());
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn threads_of_the_kernel_are_no_programs() {
        assert!(is_of_kernel("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(is_of_kernel("9 (kworker/0:1) x) I 2 0 0 0 -1 69238880 0 0"));
        assert!(!is_of_kernel("77 (2129984 ) S 1) S 1 77 77 0 -1 4194560 0 0"));
        assert!(!is_of_kernel("broken"));
    }

    #[test]
    fn files_are_swap_files_and_partitions_are_not() {
        let swaps = "Filename\tType\tSize\n/my\\040swap file 65532 0 -2\n\
            /dev/vdc partition 65532 0 -3\n/dev/loop3 partition 65532 0 -4\n\
            /loop4 partition 65532 0 -5\n";
        assert_eq!(swap_files(swaps), ["/my swap", "/dev/loop3", "/dev/loop4"].map(PathBuf::from));
    }

    #[test]
    fn a_wait_gets_more_time_only_for_less_that_is_unwritten() {
        let meminfo = "MemTotal: 9 kB\nDirty:             120 kB\nWriteback:  3 kB\nDirtyX: 1 kB\n";
        assert_eq!(sum_of(meminfo, &["Dirty:", "Writeback:"]), 123);
        let mut progress = Progress::begin(Duration::ZERO, LONGEST);
        let (begin, end) = (progress.unwritten, progress.end);
        progress.timeout = Duration::from_secs(60);
        progress.note(begin + 1);
        assert_eq!(progress.end, end);
        progress.unwritten = 100;
        progress.note(99);
        assert!(progress.end > end && progress.unwritten == 99);
        progress.at_the_latest = end;
        progress.note(98);
        assert_eq!(progress.end, end);
    }
}
