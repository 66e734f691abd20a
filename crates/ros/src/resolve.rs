//! Sources → configuration and plan, in a process of its own: whatever a document does to its parser, PID 1 goes on
//! with what it has. PID 1 starts it at each boot, roughly and when all sources are there, and when something changed.

pub(crate) mod built_in;
pub(crate) mod catalogue;
mod confirm;
mod files;
mod layers;
pub(crate) mod replace;
mod services;

pub(crate) use confirm::{Pending, confirm, prepare};
pub(crate) use layers::{load as load_layers, load_rejected};
pub(crate) use services::{is_of_system, local_sources, network_sources};

use crate::boot::early;
use corral_config::Config;
use corral_config::error::{Problem, Severity};
use corral_config::yaml::Position;
use corral_engine::paths;
use corral_machine::files::{remove_durably, write_atomic};
use corral_plan::Plan;
use corral_plan::compose::Environment;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::ExitCode;

/// The name under which this binary resolves.
pub(crate) const NAME: &str = "corral-resolve";
/// Its argument when an unconfirmed change is to be taken back first.
pub(crate) const TAKE_BACK: &str = "--take-back";
/// Its argument when modules and sysctl are to follow what changed; in a boot PID 1 does that first.
pub(crate) const WITH_KERNEL: &str = "--with-kernel";
/// Where the owner's configuration is.
pub(crate) const CONF: &str = "/var/lib/rancher/conf";
/// What this boot's data sources gave, for the resolver and for `ros config status`.
pub(crate) const CLOUD_INIT_MARK: &str = "/run/corral/cloud-init/mark.json";
/// The configuration as PID 1 put it into force last; what is stored since then is only in `paths::CONFIG`.
const APPLIED: &str = "/run/corral/applied.json";
/// What a person who logs in is to know of it: in the banner, and when a shell starts.
pub(crate) const NOTICE: &str = "/run/corral/notice";
pub(crate) const SYSTEM: &str = "/usr/share/ros";
/// Volume labels of config drives: OpenStack's, and NoCloud's.
pub(crate) const CONFIG_DRIVE: &str = "config-2";
pub(crate) const NOCLOUD_DRIVE: &str = "cidata";

/// All that PID 1 is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    pub(crate) problems: Vec<Problem>,
    /// What services may ask for by name: `rancher.environment`, the proxies, the kernel's version.
    pub(crate) environment: Environment,
    /// A change waits to be confirmed: seconds until it is to be taken back.
    pub(crate) confirm_within: Option<u64>,
}

/// The configuration in force, and what was wrong with what was said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct InForce {
    pub(crate) config: Config,
    pub(crate) problems: Vec<Problem>,
}

impl InForce {
    /// As the last resolver left it.
    pub(crate) fn load() -> anyhow::Result<InForce> {
        use anyhow::Context;
        let text = std::fs::read(paths::CONFIG).context("reading the configuration in force")?;
        serde_json::from_slice(&text).context("reading the configuration in force")
    }

    /// As PID 1 put it into force last.
    pub(crate) fn applied() -> InForce {
        std::fs::read(APPLIED).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
}

/// What the stages of cloud-init did in this boot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct CloudInitMark {
    /// The local source that won, and the one on the network.
    pub(crate) local: Option<String>,
    pub(crate) network: Option<String>,
    /// URLs that local user-data includes.
    pub(crate) includes: Vec<String>,
    /// What went wrong.
    pub(crate) problems: Vec<String>,
}

impl CloudInitMark {
    /// What is known in this boot so far.
    pub(crate) fn load() -> CloudInitMark {
        std::fs::read(CLOUD_INIT_MARK)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }
}

/// Prints what is resolved as JSON.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    corral_engine::sys::signals::unblock_all();
    let mut notes = Vec::new();
    if arguments.iter().any(|argument| argument == TAKE_BACK)
        && let Err(error) = confirm::take_back()
    {
        notes.push(problem("confirm", &format!("taking an unconfirmed change back: {error:#}")));
    }
    let mut resolved = resolve();
    resolved.problems.extend(notes);
    if arguments.iter().any(|argument| argument == WITH_KERNEL) {
        follow_in_kernel(&resolved.config);
    }
    if let Err(error) = publish(&resolved).and_then(|()| copy_durably(paths::CONFIG, APPLIED)) {
        resolved.problems.push(problem("resolver", &format!("{error:#}")));
    }
    match serde_json::to_string(&resolved) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("writing the resolved configuration: {error}");
            ExitCode::FAILURE
        }
    }
}

fn copy_durably(from: &str, to: &str) -> anyhow::Result<()> {
    write_atomic(Path::new(to), &std::fs::read(from)?, 0o600)
}

/// Loads modules and sets sysctls that were not asked for before. What somebody set by hand since then stays.
fn follow_in_kernel(config: &Config) {
    let before = InForce::applied().config.rancher;
    let mut modules = config.rancher.modules.clone();
    modules.retain(|module| !before.modules.contains(module));
    early::load_requested_modules(&modules);
    let mut sysctl = config.rancher.sysctl.clone();
    sysctl.retain(|key, value| before.sysctl.get(key) != Some(value));
    early::apply_sysctl(&sysctl);
}

/// What the programs in system containers read: root's only, for there are secrets in it.
fn publish(resolved: &Resolved) -> anyhow::Result<()> {
    let in_force = InForce { config: resolved.config.clone(), problems: resolved.problems.clone() };
    write_atomic(Path::new(paths::CONFIG), &serde_json::to_vec(&in_force)?, 0o600)?;
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
        "The configuration has {errors} error(s); what is wrong, and what counts: sudo ros config status\n"
    );
    write_atomic(Path::new(NOTICE), text.as_bytes(), 0o644)
}

/// Everything that is wrong with what counts on this machine.
pub(crate) fn problems() -> Vec<Problem> {
    resolve().problems
}

/// Lets services that are started from now on see what is stored, without putting it into force.
pub(crate) fn refresh() -> anyhow::Result<()> {
    publish(&resolve())
}

/// The configuration that is stored.
pub(crate) fn stored_config() -> Config {
    settle(corral_config::resolve(&load_layers()))
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
    let pending = confirm::at_boot();
    let layers = load_layers();
    let config = settle(corral_config::resolve(&layers));
    let rejected = load_rejected();
    let mut problems: Vec<Problem> =
        layers.iter().chain(&rejected).flat_map(|layer| layer.problems.clone()).collect();
    problems.extend(pending.problem);
    problems.extend(CloudInitMark::load().problems.iter().map(|text| problem("cloud-init", text)));
    let environment = environment(&config);
    let mut plan = services::plan(&config, &layers, &environment, &mut problems);
    files::prepare(&config, &mut plan, &mut problems);
    Resolved { config, plan, problems, environment, confirm_within: pending.confirm_within }
}

/// What services may ask for by name.
pub(crate) fn environment(config: &Config) -> Environment {
    let mut table = config.rancher.environment.clone();
    table.extend(config.rancher.network.proxy_environment());
    let kernel = rustix::system::uname();
    table.insert("KERNEL_VERSION".to_owned(), kernel.release().to_string_lossy().into_owned());
    table
}

fn problem(source: &str, message: &str) -> Problem {
    Problem::new(Severity::Error, source, Position::default(), "", message.to_owned())
}
