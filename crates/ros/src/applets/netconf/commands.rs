//! Programs that netconf runs. A failure is told, and the rest is done all the same.

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// One command of ip(8).
pub(super) fn ip(arguments: &[&str]) {
    let mut command = Command::new("/usr/bin/ip");
    command.args(arguments);
    run(&mut command, &format!("ip {}", arguments.join(" ")));
}

/// One of the owner's commands: words, no shell; `$iface` is the interface.
pub(super) fn run_words(text: &str, interface: &str) {
    let words = corral_config::cmdline::words(text);
    let words: Vec<String> = words.iter().map(|word| word.replace("$iface", interface)).collect();
    let Some((program, rest)) = words.split_first() else { return };
    run(Command::new(program).args(rest), text);
}

fn run(command: &mut Command, shown: &str) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            println!("{shown}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
        }
        Err(error) => println!("{shown}: {error}"),
    }
}

/// Waits until files have appeared in a folder; false if they do not in time.
pub(super) fn wait_for_files(folder: &Path, deadline: Instant, are_there: impl Fn() -> bool) -> Result<bool> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, folder, inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO)?;
    while !are_there() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout))?;
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(&watch, &mut buffer).is_ok_and(|count| count > 0) {}
    }
    Ok(true)
}
