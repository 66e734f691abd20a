//! Sources → configuration, plan, and the changes that follow from them. Deciding changes nothing
//! on the machine: commands that show something stop there. `apply` makes the changes, for the
//! resolver of PID 1 (`process`) and for commands that change the configuration (`store`).

mod apply;
pub mod built_in;
pub mod catalogue;
pub mod cloud_init;
pub mod confirm;
mod console_images;
pub mod effective;
pub mod enabled;
pub mod engine_switch;
pub mod engines;
mod fault;
mod file_change;
mod files;
pub mod imported_keys;
pub mod index;
mod inputs;
mod last_engine;
pub mod layers;
mod lost_files;
pub mod preload;
mod problem;
pub mod process;
pub mod replacement;
pub mod root;
pub mod services;
pub mod shipped;
pub mod stopped;
pub mod store;
pub mod switchable;
#[cfg(test)]
mod tests;
mod too_late;
mod user_file;
mod way_in;

use cloud_init::CloudInitMark;
use confirm::{AtBoot, Pending};
use corral_config::Config;
use corral_config::error::{Problem, capped};
use corral_config::layer::Layer;
use corral_engine::paths;
use corral_init::boot::resolver::FAILURE;
use corral_init::boot::state::CONF;
use corral_plan::resolved::{Environment, Resolved, Unconfirmed};
use effective::EffectiveConfig;
use file_change::FileChange;
use files::ServiceFiles;
use inputs::Inputs;
use root::Root;

/// The result of resolving.
#[derive(Debug)]
struct Resolution {
    resolved: Resolved,
    effects: Effects,
}

/// What has to be written for it, in this order. An unconfirmed change and lost files are handled
/// before: their documents are read only then (`confirm::Fate`, `lost_files::LostFiles`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Effects {
    /// Copies of files of the configuration that have no errors.
    last_good: Vec<FileChange>,
    /// Who may log in, for a boot in which nothing else can be resolved.
    way_in: Option<FileChange>,
    /// `write_files` for the containers of services.
    service_files: Vec<ServiceFiles>,
    /// The authorities to trust, if they are not those of the image.
    certificates: Option<String>,
    /// The engine that runs now.
    last_engine: Option<FileChange>,
}

/// All problems of this machine's configuration. If resolving failed, only the recorded problems:
/// another attempt would end this program as well.
pub fn problems() -> Vec<Problem> {
    let Ok(reason) = std::fs::read_to_string(FAILURE) else {
        let mut problems = stored().problems;
        let of_images = EffectiveConfig::applied().problems.into_iter();
        problems.extend(of_images.filter(replacement::is_about_one));
        return problems;
    };
    let mut problems = vec![problem::error("resolver", reason.trim())];
    problems.extend(EffectiveConfig::load().unwrap_or_default().problems);
    problems
}

/// The configuration that is stored.
pub fn stored_config() -> Config {
    load_config(&Root::machine())
}

/// The same with its services.
pub fn stored() -> Resolved {
    resolve(&Root::machine()).resolved
}

fn load_config(root: &Root) -> Config {
    derive_settings(root, corral_config::resolve(&layers::load(root).layers))
}

/// Settings that follow from other keys.
fn derive_settings(root: &Root, mut config: Config) -> Config {
    config.rancher.docker.debug |= config.rancher.debug;
    built_in::take_from(root, &mut config);
    catalogue::add_of_user(root, &mut config);
    config
}

/// Resolves as if the outcome of an unconfirmed change were already written.
fn resolve(root: &Root) -> Resolution {
    let fate = confirm::decide(root);
    resolve_after(&root.after(fate.changes()), fate.at_boot())
}

/// Resolves once that is written.
fn resolve_after(root: &Root, at_boot: AtBoot) -> Resolution {
    resolve_loaded(root, load(root, at_boot))
}

/// The configuration of all sources. What its services name is not read yet.
struct Loaded {
    layers: Vec<Layer>,
    problems: Vec<Problem>,
    unconfirmed: Option<Unconfirmed>,
    /// The copies to keep: a file that a service names may end this process.
    copies: Effects,
}

fn load(root: &Root, at_boot: AtBoot) -> Loaded {
    let mut sources = layers::load(root);
    let rejected = layers::load_rejected(root);
    // A change that may be rolled back does not decide who may log in from now on, and is not the
    // last good one.
    let is_final = Pending::load(root).is_none();
    let way_in = if is_final { way_in::decide(root, &sources.layers) } else { None };
    if !is_final {
        let of_store = layers::last_good(&layers::stored_file());
        sources.last_good.retain(|copy| Some(copy.path()) != of_store.as_deref());
    }
    let mut problems: Vec<Problem> =
        sources.layers.iter().chain(&rejected).flat_map(|layer| layer.problems.clone()).collect();
    problems.extend(at_boot.problem);
    problems.extend(too_late::problems(&sources.layers));
    problems.extend(lost_files::problems(root));
    let mark = CloudInitMark::load(root).problems;
    problems.extend(capped(
        "cloud-init",
        mark.iter().map(|text| problem::error("cloud-init", text)).collect(),
    ));
    let copies = Effects { last_good: sources.last_good, way_in, ..Effects::default() };
    Loaded { layers: sources.layers, problems, unconfirmed: at_boot.unconfirmed, copies }
}

fn resolve_loaded(root: &Root, loaded: Loaded) -> Resolution {
    let mut resolution = assemble(root, &loaded.layers, loaded.problems);
    resolution.resolved.unconfirmed = loaded.unconfirmed;
    let Effects { service_files, certificates, last_engine, .. } = resolution.effects;
    resolution.effects = Effects { service_files, certificates, last_engine, ..loaded.copies };
    resolution
}

/// Without the owner's files, except for logins and addresses. A waiting change is still rolled
/// back in time.
fn resolve_built_in(root: &Root, at_boot: &AtBoot, reason: &str, with_sources: bool) -> Resolution {
    let message = format!(
        "{reason}; the machine runs with what is built in, the kernel's command line, and the \
         logins and addresses that worked last or that the provider names. Repair the files below \
         {CONF} and restart"
    );
    let problems = vec![problem::error("configuration", &message)];
    let mut resolution = assemble(root, &layers::built_in(root, with_sources), problems);
    resolution.resolved.unconfirmed.clone_from(&at_boot.unconfirmed);
    // The owner's choice is only left out.
    resolution.effects.last_engine = None;
    resolution
}

fn assemble(root: &Root, layers: &[Layer], mut problems: Vec<Problem>) -> Resolution {
    let resolution = corral_config::resolve_with_problems(layers);
    problems.extend(resolution.problems);
    let config = derive_settings(root, resolution.config);
    let environment = environment(&config);
    let inputs = Inputs { root, config: &config, environment: &environment };
    let mut of_services = Vec::new();
    let (mut plan, engine) = services::plan(inputs, layers, &mut of_services);
    let last_engine = engine.change(root);
    let certificates = config.ca_certs.bundle(&root.text(paths::CERTIFICATES_OF_IMAGE));
    let service_files =
        files::decide(&config, &mut plan, certificates.as_deref(), &mut of_services);
    problems.extend(capped("services", of_services));
    Resolution {
        resolved: Resolved { config, plan, problems, environment, unconfirmed: None },
        effects: Effects { service_files, certificates, last_engine, ..Effects::default() },
    }
}

/// Variables that services may use by name.
pub fn environment(config: &Config) -> Environment {
    let mut table = config.rancher.environment.clone();
    table.extend(config.rancher.network.proxy_environment());
    if !config.timezone.is_empty() {
        table.entry("TZ".to_owned()).or_insert_with(|| config.timezone.clone());
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    table.insert("KERNEL_TAG".to_owned(), kernel_tag(&kernel));
    table.insert("KERNEL_VERSION".to_owned(), kernel);
    table
}

/// The version of a kernel as the tag of an image, which has no `+`.
fn kernel_tag(version: &str) -> String {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    version.chars().map(|letter| if is_allowed(letter) { letter } else { '-' }).collect()
}
