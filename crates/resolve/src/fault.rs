//! Fault injection for the stories: `corral.fault` on the kernel's command line makes the resolver
//! crash, hang or flood its pipe. What is resolved without the owner's files has none of these
//! faults.

use rustix::process::{Signal, getpid, kill_process};
use std::io::{Write, stdout};

const PARAMETER: &str = "corral.fault";

/// Faults at one moment: their names, and what each does.
type Faults = &'static [(&'static str, fn())];

/// Before any source is read.
pub(super) const EARLY: Faults =
    &[("resolver-killed", be_killed), ("resolver-hangs", hang), ("resolver-floods", flood)];
/// When the sources are read, and before the files that their services name.
pub(super) const LATE: Faults = &[("resolver-killed-late", be_killed)];

/// Does what the kernel's command line requests of this moment; mostly nothing.
pub(super) fn provoke(faults: Faults) {
    let line = corral_machine::cmdline::load().unwrap_or_default();
    let Some(wanted) = corral_machine::cmdline::value(&line, PARAMETER) else { return };
    for (_, fault) in faults.iter().filter(|(name, _)| *name == wanted) {
        fault();
    }
}

fn be_killed() {
    let _ = kill_process(getpid(), Signal::KILL);
}

fn hang() {
    loop {
        std::thread::park();
    }
}

fn flood() {
    while stdout().write_all(&[b' '; 4096]).is_ok() {}
}
