//! The common dhcpcd, as a child that is watched. dhcpcd 10.1 can get into an endless loop when an
//! address of its link vanishes while the kernel drops messages, as it does when many containers
//! start and end. It then asks for no address any more, and only SIGKILL ends it.

use anyhow::{Context, Result, bail, ensure};
use corral_engine::signal::Signal;
use corral_engine::sys::reap;
use corral_engine::sys::signals::{self, SignalAction, Signals};
use corral_machine::console::log;
use corral_machine::{deadline, proc_stat, sysctl};
use rustix::event::{PollFd, PollFlags};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const NAME: &str = "dhcpcd";
/// The kernel counts time in /proc/PID/stat in hundredths of a second: USER_HZ.
const TICKS: u64 = 100;
const PERIOD: Duration = Duration::from_secs(60);
/// One that used more of a period than this is in the loop: a renewal needs milliseconds.
const MOST: u64 = 20 * TICKS;

/// The largest buffer that a socket may ask for, and what dhcpcd asks for (`link_rcvbuf`).
const BUFFER: (&str, u32) = ("net.core.rmem_max", 4 << 20);

/// Lets dhcpcd have a buffer in which no message of the kernel is lost, unless the owner has said
/// how large buffers may be.
pub(super) fn allow_large_buffer(by_owner: &BTreeMap<String, String>) {
    let (key, size) = BUFFER;
    let path = Path::new("/proc/sys").join(key.replace('.', "/"));
    let current = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if !by_owner.contains_key(key) && current.is_some_and(|current| current < size) {
        sysctl::apply(&BTreeMap::from([(key.to_owned(), size.to_string())]));
    }
}

/// Runs dhcpcd until it ends by itself or this container is stopped. It is an error if a dhcpcd of
/// this container is in the loop: they all end with this process, and the service starts again.
pub(super) fn run(mut command: Command) -> Result<()> {
    let mut signals = Signals::open().context("watching signals")?;
    let child = signals::start_unblocked(&mut command).spawn().context("starting dhcpcd")?;
    let child = child.id().cast_signed();
    let (mut used, mut next) = (times(), Instant::now() + PERIOD);
    let mut is_stopped = false;
    loop {
        deadline::poll(&mut [PollFd::new(&signals, PollFlags::IN)], next).context("waiting")?;
        while let Some(action) = signals.take() {
            match action {
                SignalAction::Reap => {}
                SignalAction::Power(_) => {
                    is_stopped = true;
                    signals::send(child, Signal::TERM).context("stopping dhcpcd")?;
                }
            }
        }
        while let Some(end) = reap::next() {
            if end.pid == child {
                ensure!(is_stopped, "dhcpcd ended with status {}", end.code);
                return Ok(());
            }
        }
        if Instant::now() >= next {
            let now = times();
            if !is_stopped && is_in_loop(&used, &now) {
                log("network: dhcpcd does nothing but compute; the service is started again");
                bail!("dhcpcd does nothing but compute");
            }
            (used, next) = (now, Instant::now() + PERIOD);
        }
    }
}

/// The ticks that each process of dhcpcd in this container has used.
fn times() -> BTreeMap<i32, u64> {
    let items = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = items.filter_map(|item| item.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, used(&stat)?))
    })
    .collect()
}

/// Of a line of /proc/PID/stat; None if it is another program's.
fn used(stat: &str) -> Option<u64> {
    let field = |number| proc_stat::field(stat, number);
    let ticks = |number| field(number)?.parse::<u64>().ok();
    (field(2)? == NAME).then_some(ticks(14)? + ticks(15)?)
}

fn is_in_loop(before: &BTreeMap<i32, u64>, now: &BTreeMap<i32, u64>) -> bool {
    let used = |(pid, ticks): (&i32, &u64)| ticks.saturating_sub(*before.get(pid).unwrap_or(ticks));
    now.iter().any(|process| used(process) > MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dhcpcd_that_computes_all_the_time_is_in_the_loop() {
        let stat = |name: &str, ticks: u64| {
            format!("9 ({name}) R 1 9 9 0 -1 4194560 1 0 0 0 {ticks} 5 0 0 20 0 1 0 7 1 1")
        };
        assert_eq!(used(&stat("dhcpcd", 10)), Some(15));
        assert_eq!(used(&stat("sh", 10)), None);
        let times = |ticks| BTreeMap::from([(9, ticks)]);
        assert!(!is_in_loop(&times(0), &times(MOST)));
        assert!(is_in_loop(&times(5), &times(MOST + 6)));
        // It began in this period.
        assert!(!is_in_loop(&BTreeMap::new(), &times(MOST + 6)));
    }
}
