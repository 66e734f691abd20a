//! Sources → configuration and plan, in a process of its own: whatever a document does to its parser, PID 1 goes on
//! with what it has. PID 1 starts it at each boot, roughly and when all sources are there, and when something changed.

pub(crate) mod built_in;
pub(crate) mod catalogue;
pub(crate) mod cloud_init;
pub(crate) mod confirm;
pub(crate) mod effective;
mod fault;
mod files;
pub(crate) mod layers;
mod lost_files;
pub(crate) mod preload;
mod problem;
pub(crate) mod services;
pub(crate) mod store;
pub(crate) mod switchable;
mod user_file;
mod way_in;

use cloud_init::CloudInitMark;
use corral_config::Config;
use corral_config::error::{Problem, Severity, capped};
use corral_config::layer::Layer;
use corral_engine::paths;
use corral_init::boot::resolver::{BUILT_IN, FAILURE, NO_SOURCES, NOTICE, TAKE_BACK, WITH_KERNEL};
use corral_init::boot::state::CONF;
use corral_machine::files::{remove_durably, write_atomic};
use corral_machine::{modules, sysctl};
use corral_plan::resolved::{Environment, Resolved};
use effective::EffectiveConfig;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What a resolver may always have, in bytes.
const LEAST_MEMORY: u64 = 256 << 20;

/// Prints what is resolved as JSON.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    corral_engine::sys::signals::unblock_all();
    be_the_first_to_go();
    let has = |wanted: &str| arguments.iter().position(|argument| argument == wanted);
    let taken_back = has(TAKE_BACK).map_or(Ok(()), |_| confirm::take_back());
    let put_back = lost_files::restore();
    let mut resolved = match has(BUILT_IN) {
        // PID 1 has noted why.
        Some(at) => {
            let reason = arguments.get(at + 1).map_or("", String::as_str);
            resolve_built_in(reason, has(NO_SOURCES).is_none())
        }
        None => {
            fault::provoke();
            resolve_and(way_in::keep)
        }
    };
    if let Err(error) = taken_back {
        let message = format!("rolling an unconfirmed change back: {error:#}");
        resolved.problems.push(problem::error("confirm", &message));
    }
    if let Err(error) = put_back {
        let message = format!("putting lost files of the configuration back: {error:#}");
        resolved.problems.push(problem::error("state", &message));
    }
    if has(WITH_KERNEL).is_some() {
        follow_in_kernel(&resolved.config);
    }
    if let Err(error) = publish(&resolved).and_then(|()| effective::note_applied()) {
        resolved.problems.push(problem::error("resolver", &format!("{error:#}")));
    }
    let code = print(&resolved);
    if has(BUILT_IN).is_none() && code == ExitCode::SUCCESS {
        let _ = std::fs::remove_file(FAILURE);
    }
    code
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

/// When memory is short it is the resolver that ends, and nobody's login; a document that asks for too much of it ends
/// the resolver before that.
fn be_the_first_to_go() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let memory = rustix::system::sysinfo().totalram as u64;
    let limit = rustix::process::Rlimit {
        current: Some((memory / 2).max(LEAST_MEMORY)),
        maximum: Some((memory / 2).max(LEAST_MEMORY)),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::As, limit);
}

/// Loads modules and sets sysctls that were not asked for before. What somebody set by hand since then stays.
fn follow_in_kernel(config: &Config) {
    let before = EffectiveConfig::applied().config.rancher;
    let mut added = config.rancher.modules.clone();
    added.retain(|module| !before.modules.contains(module));
    modules::load_requested(&added);
    let mut changed = config.rancher.sysctl.clone();
    changed.retain(|key, value| before.sysctl.get(key) != Some(value));
    sysctl::apply(&changed);
}

/// What the programs in system containers read, and what a person who logs in is to know.
fn publish(resolved: &Resolved) -> anyhow::Result<()> {
    EffectiveConfig { config: resolved.config.clone(), problems: resolved.problems.clone() }.save()?;
    let rancher = &resolved.config.rancher;
    if rancher.log || rancher.debug {
        write_atomic(Path::new(paths::SHOW_LOGS), b"", 0o644)?;
    } else {
        remove_durably(Path::new(paths::SHOW_LOGS))?;
    }
    let errors = resolved.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    if errors == 0 {
        return remove_durably(Path::new(NOTICE));
    }
    let text = format!(
        "The configuration has {errors} error(s); what is wrong, and what takes effect: sudo ros config status\n"
    );
    write_atomic(Path::new(NOTICE), text.as_bytes(), 0o644)
}

/// Everything that is wrong with the configuration of this machine. Where resolving it failed, what is known of that:
/// trying once more would end this program as well.
pub(crate) fn problems() -> Vec<Problem> {
    let Ok(reason) = std::fs::read_to_string(FAILURE) else { return resolve().problems };
    let mut problems = vec![problem::error("resolver", reason.trim())];
    problems.extend(EffectiveConfig::load().unwrap_or_default().problems);
    problems
}

/// Lets services that are started from now on see what is stored, without putting it into force.
pub(crate) fn refresh() -> anyhow::Result<()> {
    publish(&resolve())
}

/// The configuration that is stored.
pub(crate) fn stored_config() -> Config {
    settle(corral_config::resolve(&layers::load()))
}

/// The same with its services; nothing of it is put into force.
pub(crate) fn stored() -> Resolved {
    resolve()
}

/// What follows from other keys.
fn settle(mut config: Config) -> Config {
    config.rancher.docker.debug |= config.rancher.debug;
    built_in::take_from(&mut config);
    catalogue::add_of_user(&mut config);
    config
}

fn resolve() -> Resolved {
    resolve_and(|_| ())
}

/// The same; `keep` gets the layers, unless they have a change that may be rolled back.
fn resolve_and(keep: impl Fn(&[Layer])) -> Resolved {
    let pending = confirm::at_boot();
    let layers = layers::load();
    if pending.confirm_within.is_none() {
        keep(&layers);
    }
    let rejected = layers::load_rejected();
    let mut problems: Vec<Problem> =
        layers.iter().chain(&rejected).flat_map(|layer| layer.problems.clone()).collect();
    problems.extend(pending.problem);
    problems.extend(lost_files::problems());
    let mark = CloudInitMark::load().problems;
    problems
        .extend(capped("cloud-init", mark.iter().map(|text| problem::error("cloud-init", text)).collect()));
    let resolved = assemble(&layers, problems);
    Resolved { confirm_within: pending.confirm_within, ..resolved }
}

/// Without the owner's files, but for who may log in and where. A change that waits is still rolled back in time.
fn resolve_built_in(reason: &str, with_sources: bool) -> Resolved {
    let message = format!(
        "{reason}; the machine runs with what is built in, the kernel's command line, and the logins and addresses \
         that worked last. Repair the files below {CONF} and restart"
    );
    let mut resolved =
        assemble(&layers::built_in(with_sources), vec![problem::error("configuration", &message)]);
    resolved.confirm_within = confirm::at_boot().confirm_within;
    resolved
}

fn assemble(layers: &[Layer], mut problems: Vec<Problem>) -> Resolved {
    let resolution = corral_config::resolve_with_problems(layers);
    problems.extend(resolution.problems);
    let config = settle(resolution.config);
    let environment = environment(&config);
    let mut of_services = Vec::new();
    let mut plan = services::plan(&config, layers, &environment, &mut of_services);
    files::prepare(&config, &mut plan, &mut of_services);
    problems.extend(capped("services", of_services));
    Resolved { config, plan, problems, environment, confirm_within: None }
}

/// What services may ask for by name.
pub(crate) fn environment(config: &Config) -> Environment {
    let mut table = config.rancher.environment.clone();
    table.extend(config.rancher.network.proxy_environment());
    let kernel = rustix::system::uname();
    table.insert("KERNEL_VERSION".to_owned(), kernel.release().to_string_lossy().into_owned());
    table
}
