//! Faults of the resolver on request, so that a story can see what PID 1 makes of them: `corral.fault=resolver-killed`,
//! `resolver-hangs` or `resolver-floods` on the kernel's command line. What is resolved without the owner's files has
//! none of them.

use rustix::process::{Signal, getpid, kill_process};
use std::io::{Write, stdout};

const PARAMETER: &str = "corral.fault";

/// Does what the kernel's command line asks for; mostly nothing.
pub(super) fn provoke() {
    let line = corral_machine::cmdline::load().unwrap_or_default();
    match corral_machine::cmdline::value(&line, PARAMETER) {
        Some("resolver-killed") => drop(kill_process(getpid(), Signal::KILL)),
        Some("resolver-hangs") => loop {
            std::thread::park();
        },
        Some("resolver-floods") => while stdout().write_all(&[b' '; 4096]).is_ok() {},
        _ => {}
    }
}
