//! The resolver, in a process of its own: when a document kills its parser, PID 1 continues with
//! what it has. PID 1 starts it at each boot, early and again when all sources are there, and after
//! changes.

use super::effective::EffectiveConfig;
use super::root::Root;
use super::{
    Resolution, apply, confirm, fault, load, lost_files, problem, resolve_built_in, resolve_loaded,
};
use corral_config::Config;
use corral_engine::sys::signals;
use corral_init::boot::resolver::{BUILT_IN, FAILURE, NO_SOURCES, ROLL_BACK, WITH_KERNEL};
use corral_machine::{modules, sysctl};
use corral_plan::resolved::Resolved;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

/// Memory that a resolver may always use, in bytes.
const LEAST_MEMORY: u64 = 256 << 20;

/// What PID 1 requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    /// Roll this unconfirmed change back first.
    roll_back: Option<String>,
    /// Apply changed modules and sysctls.
    with_kernel: bool,
    /// Resolve without the owner's files, for this reason.
    built_in: Option<String>,
    /// Look for no data source either.
    no_sources: bool,
}

/// Resolves, applies, and prints the result as JSON.
pub fn main(arguments: &[String]) -> ExitCode {
    signals::unblock_all();
    limit_memory();
    let request = Request::parse(arguments);
    let root = Root::of_pid_1();
    // Before any document is parsed: one that ends this process must not keep a rollback from
    // working.
    let rolled_back =
        request.roll_back.as_ref().map_or(Ok(()), |change| apply::roll_back(&root, change));
    let put_back = apply::settle_lost(&root, &lost_files::decide(&root));
    let mut resolved = resolve(&root, &request).apply(&root);
    if let Err(error) = rolled_back {
        let message = format!("rolling back an unconfirmed change: {error:#}");
        resolved.problems.push(problem::error("confirm", &message));
    }
    if let Err(error) = put_back {
        let message = format!("restoring lost files of the configuration: {error:#}");
        resolved.problems.push(problem::error("state", &message));
    }
    if request.is_in_vain(&resolved) {
        eprintln!("no login is known without the owner's files either");
        return ExitCode::FAILURE;
    }
    if request.with_kernel {
        KernelChange::decide(&EffectiveConfig::applied().config, &resolved.config).apply();
    }
    if let Err(error) = apply::publish(&root, &resolved, true) {
        resolved.problems.push(problem::error("resolver", &format!("{error:#}")));
    }
    let code = print(&resolved);
    if request.built_in.is_none() && code == ExitCode::SUCCESS {
        let _ = std::fs::remove_file(FAILURE);
    }
    code
}

fn resolve(root: &Root, request: &Request) -> Resolution {
    if request.built_in.is_none() {
        fault::provoke(fault::EARLY);
    }
    let at_boot = apply::settle_unconfirmed(root, &confirm::decide(root));
    apply::tidy_up_alone(root);
    match &request.built_in {
        // PID 1 has recorded why.
        Some(reason) => resolve_built_in(root, &at_boot, reason, !request.no_sources),
        None => {
            let mut loaded = load(root, at_boot);
            // Before a file that a service names is parsed: with the way in kept, one that ends
            // this process locks no owner out.
            apply::keep_copies(root, &std::mem::take(&mut loaded.copies));
            fault::provoke(fault::LATE);
            resolve_loaded(root, loaded)
        }
    }
}

impl Request {
    fn parse(arguments: &[String]) -> Request {
        let at = |wanted: &str| arguments.iter().position(|argument| argument == wanted);
        let value = |at: usize| arguments.get(at + 1).cloned().unwrap_or_default();
        Request {
            roll_back: at(ROLL_BACK).map(value),
            with_kernel: at(WITH_KERNEL).is_some(),
            built_in: at(BUILT_IN).map(value),
            no_sources: at(NO_SOURCES).is_some(),
        }
    }

    /// While a machine runs, the owner's files are left out only to let users log in.
    fn is_in_vain(&self, resolved: &Resolved) -> bool {
        self.with_kernel && self.built_in.is_some() && !resolved.config.has_remote_login()
    }
}

/// If memory is short, the OOM killer ends the resolver and no login. A document that needs too
/// much memory reaches the resolver's own limit before that.
fn limit_memory() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let memory = rustix::system::sysinfo().totalram as u64;
    let limit = rustix::process::Rlimit {
        current: Some((memory / 2).max(LEAST_MEMORY)),
        maximum: Some((memory / 2).max(LEAST_MEMORY)),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::As, limit);
}

/// Modules and sysctls that were not requested before. Values that a user has set since then stay.
#[derive(Debug, PartialEq, Eq)]
struct KernelChange {
    modules: Vec<String>,
    sysctl: BTreeMap<String, String>,
}

impl KernelChange {
    fn decide(before: &Config, now: &Config) -> KernelChange {
        let (before, now) = (&before.rancher, &now.rancher);
        let mut modules = now.modules.clone();
        modules.retain(|module| !before.modules.contains(module));
        let mut sysctl = now.sysctl.clone();
        sysctl.retain(|key, value| before.sysctl.get(key) != Some(value));
        KernelChange { modules, sysctl }
    }

    fn apply(&self) {
        modules::load_requested(&self.modules);
        sysctl::apply(&self.sysctl);
    }
}

fn print(resolved: &Resolved) -> ExitCode {
    let written = serde_json::to_vec(resolved).map_err(std::io::Error::from);
    match written.and_then(|text| std::io::stdout().lock().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writing the resolved configuration: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pid_1_requests_is_in_the_arguments() {
        let parse = |arguments: &[&str]| {
            Request::parse(
                &arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(parse(&[]), Request::default());
        let roll_back = Some("change".to_owned());
        let expected = Request { roll_back, with_kernel: true, ..Request::default() };
        assert_eq!(parse(&[ROLL_BACK, "change", WITH_KERNEL]), expected);
        let expected =
            Request { built_in: Some("why".to_owned()), no_sources: true, ..Request::default() };
        assert_eq!(parse(&[BUILT_IN, "why", NO_SOURCES]), expected);
    }

    #[test]
    fn the_kernel_gets_what_was_not_requested_before() {
        let config = |modules: &[&str], sysctl: &[(&str, &str)]| {
            let mut config = Config::default();
            config.rancher.modules = modules.iter().map(|module| (*module).to_owned()).collect();
            config.rancher.sysctl = sysctl
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            config
        };
        let before = config(&["a"], &[("kept", "1"), ("changed", "1"), ("gone", "1")]);
        let now = config(&["a", "b"], &[("kept", "1"), ("changed", "2"), ("new", "1")]);
        let expected = config(&["b"], &[("changed", "2"), ("new", "1")]).rancher;
        let change = KernelChange::decide(&before, &now);
        assert_eq!((change.modules, change.sysctl), (expected.modules, expected.sysctl));
    }
}
