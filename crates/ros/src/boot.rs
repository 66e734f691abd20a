//! The story of a boot, from the system image on. Stage 0 found it and made it the root; what follows are these steps,
//! and then the loop that never ends.

mod console;
pub(crate) mod early;
mod oem;
mod resolver;
mod state;

use crate::supervise::{Foundation, Supervisor};
use crate::trace::Trace;
pub(crate) use console::say;
use corral_engine::sys::signals::Signals;
pub(crate) use resolver::Resolver;
use std::process::ExitCode;
use std::time::Instant;

/// PID 1. Returns only if the loop could not even begin, which the kernel takes as a reason to panic.
pub(crate) fn run() -> ExitCode {
    early::become_pid_1();
    let mut trace = Trace::default();
    say(&format!("PID 1 of {} begins", console::title()));
    let mounted = trace.step("mounts", early::mount_all);
    let signals = Signals::open();
    trace.step("etc", early::render_etc);
    trace.step("modules", early::load_modules);
    let rough = trace.step("rough-config", resolver::run);
    let rough = trace.step("oem", || oem::enter(rough));
    trace.step("requested-modules", || early::load_requested_modules(&rough.config.rancher.modules));
    let has_state = trace.step("state", || state::enter(&rough));
    let resolved = if has_state { trace.step("config", resolver::run) } else { rough };
    trace.step("sysctl", || early::apply_sysctl(&resolved.config.rancher.sysctl));
    say(&format!("{} is up {:.1} s after the kernel", console::title(), crate::trace::now() as f64 / 1e6));
    mounted.iter().for_each(|problem| say(problem));
    let started = Instant::now();
    let ended = signals
        .map_err(anyhow::Error::from)
        .and_then(|signals| Supervisor::new(signals, Foundation { resolved, trace, started }))
        .and_then(|mut supervisor| supervisor.run());
    say(&format!(
        "PID 1 cannot go on: {:#}",
        ended.err().unwrap_or_else(|| anyhow::anyhow!("the loop ended"))
    ));
    ExitCode::FAILURE
}
