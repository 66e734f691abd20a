//! The steps of a boot, from the system image on. Stage 0 found the image and made it the root.
//! After these steps comes the loop that never ends.

mod early;
mod machine_id;
pub mod oem;
mod recovery;
pub mod reset;
pub mod resolver;
mod run_once;
pub mod state;
mod trial;

use crate::supervise::{BootContext, NAME, Supervisor, resume};
use crate::trace::{self, Trace};
use anyhow::Result;
use corral_config::Config;
use corral_engine::sys::signals::Signals;
use corral_engine::sys::{has_document, take_document};
use corral_machine::console::{log, title};
use corral_machine::{modules, sysctl};
use corral_plan::resolved::Resolved;
use std::process::ExitCode;

/// The inode of the kernel's first PID namespace: PROC_PID_INIT_INO of its headers.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Does this process run the machine? By its names a container may have a client of the engine as
/// its own first process, which must not boot a second time. What resumes may be in any namespace,
/// like the engine alone.
pub fn is_pid_1(name: &str, arguments: &[String]) -> bool {
    std::process::id() == 1 && is_called(name, arguments, is_in_container())
}

fn is_called(name: &str, arguments: &[String], is_in_container: bool) -> bool {
    match name {
        "init" => !is_in_container,
        NAME => has_document(arguments),
        _ => false,
    }
}

/// Before a boot mounts /proc, nothing is there, and there is no container yet.
fn is_in_container() -> bool {
    rustix::fs::stat("/proc/self/ns/pid").is_ok_and(|found| found.st_ino != FIRST_PID_NAMESPACE)
}

/// PID 1. Returns only if the loop could not even begin, which the kernel takes as a reason to
/// panic.
pub fn run(arguments: &[String]) -> ExitCode {
    early::become_pid_1();
    if has_document(arguments) {
        // One that cannot be read is not a reason to boot over containers that run.
        let document = take_document(arguments).unwrap_or_default();
        return cannot_go_on(
            Signals::open().map_err(Into::into).and_then(|signals| resume(signals, &document)),
        );
    }
    let mut trace = Trace::default();
    log(&format!("PID 1 of {} begins", title()));
    let mount_problems = trace.step("mounts", early::mount_all);
    let signals = Signals::open();
    trace.step("etc", early::render_etc);
    trace.step("modules", early::load_modules);
    trace.step("device-nodes", early::make_device_nodes);
    let rough = trace.step("rough-config", resolver::run).unwrap_or_default();
    let rough = trace.step("oem", || oem::enter(rough));
    trace.step("requested-modules", || modules::load_requested(&rough.config.rancher.modules));
    trace.step("recovery", || recovery::run_if_requested(&rough));
    let has_state = trace.step("state", || state::enter(&rough));
    trace.step("machine-id", || machine_id::settle(has_state));
    let again =
        if has_state || state::has_problem() { trace.step("config", resolver::run) } else { None };
    let loaded = rough.config.rancher.modules.clone();
    let resolved = again.unwrap_or(rough);
    let added = added_modules(&resolved.config.rancher.modules, &loaded);
    trace.step("modules-of-the-state", || modules::load_requested(&added));
    trace.step("sysctl", || sysctl::apply(&resolved.config.rancher.sysctl));
    trace.step("host-name", || set_host_name(&resolved.config));
    log(&format!("{} is up {:.1} s after the kernel", title(), trace::seconds(trace::now())));
    mount_problems.iter().for_each(|problem| log(problem));
    trial::announce();
    cannot_go_on(begin(signals, BootContext { resolved, trace }))
}

/// Modules that the configuration on the state disk adds. The others are loaded already.
fn added_modules(all: &[String], loaded: &[String]) -> Vec<String> {
    all.iter().filter(|module| !loaded.contains(module)).cloned().collect()
}

/// The network container sets it again, with what DHCP and data sources have. The console may show
/// its prompt before that.
fn set_host_name(config: &Config) {
    let name = config.effective_hostname();
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        log(&format!("setting the host name {name}: {error}"));
    }
}

/// PID 1 of namespaces on some other Linux, with nothing but the engine. For the engine's tests and
/// benchmarks.
pub fn run_engine_alone() -> ExitCode {
    early::become_pid_1();
    let problems = early::prepare_for_engine();
    problems.iter().for_each(|problem| log(problem));
    let boot = BootContext { resolved: Resolved::default(), trace: Trace::default() };
    cannot_go_on(begin(Signals::open(), boot))
}

fn begin(signals: std::io::Result<Signals>, boot: BootContext) -> Result<()> {
    Supervisor::new(signals?, boot)?.run()
}

fn cannot_go_on(ended: Result<()>) -> ExitCode {
    let error = ended.err().unwrap_or_else(|| anyhow::anyhow!("the loop ended"));
    log(&format!("PID 1 cannot continue: {error:#}"));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_first_process_and_what_resumes_are_pid_1() {
        let resumes = ["--resume=7".to_owned()];
        let client = ["exec", "console", "sh", "--resume=7"].map(str::to_owned);
        assert!(is_called(NAME, &resumes, true));
        assert!(!is_called(NAME, &client, false));
        assert!(!is_called(NAME, &[], false));
        assert!(is_called("init", &[], false));
        assert!(!is_called("init", &[], true));
        assert!(!is_called("ros", &[], false));
    }
}
