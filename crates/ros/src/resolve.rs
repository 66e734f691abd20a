//! Sources → configuration and plan, in a process of its own: whatever a document does to its parser, PID 1 goes on
//! with what it has. PID 1 starts it twice in a boot: roughly, and when all sources are there.

use corral_config::error::{Problem, Severity};
use corral_config::layer::{Layer, Source};
use corral_config::yaml::Position;
use corral_config::{Config, user_data};
use corral_machine::block;
use corral_plan::{Plan, Service, compose};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The name under which this binary resolves.
pub(crate) const NAME: &str = "corral-resolve";
/// Where the owner's configuration is.
pub(crate) const CONF: &str = "/var/lib/rancher/conf";
const SYSTEM: &str = "/usr/share/ros";
/// Volume labels of config drives.
pub(crate) const DRIVES: [&str; 3] = ["config-2", "cidata", "CIDATA"];

/// All that PID 1 is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    pub(crate) problems: Vec<Problem>,
}

/// Prints what is resolved as JSON.
pub(crate) fn main() -> ExitCode {
    corral_engine::sys::signals::unblock_all();
    match serde_json::to_string(&resolve()) {
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

fn resolve() -> Resolved {
    let layers = load_layers();
    let config = corral_config::resolve(&layers);
    let mut problems: Vec<Problem> =
        layers.iter().chain(&load_rejected()).flat_map(|layer| layer.problems.clone()).collect();
    problems.extend(config.write_files.iter().filter(|file| file.container != "console").map(|file| {
        let message =
            format!("{}: writing into container {} has no effect in this version", file.path, file.container);
        Problem::new(Severity::Warning, "write_files", Position::default(), "", message)
    }));
    let plan = plan(&config, &mut problems);
    Resolved { config, plan, problems }
}

/// Every source that is there, in the order in which later ones win (R§7.6).
pub(crate) fn load_layers() -> Vec<Layer> {
    let mut layers = vec![corral_config::defaults()];
    let conf = Path::new(CONF);
    let mut files: Vec<PathBuf> = fs::read_dir(conf.join("cloud-config.d"))
        .map(|items| items.flatten().map(|item| item.path()).filter(|path| is_layer_file(path)).collect())
        .unwrap_or_default();
    files.sort();
    files.push(conf.join("cloud-config.yml"));
    layers.extend(files.iter().filter_map(|path| load_file(path)));
    layers.extend(corral_machine::cmdline::load().map(|text| Layer::from_command_line(&text)));
    layers.extend(load_metadata(&layers));
    layers
}

fn is_layer_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && name.ends_with(".yml") && path.is_file()
}

fn load_file(path: &Path) -> Option<Layer> {
    let bytes = fs::read(path).ok()?;
    let source = Source::File(path.display().to_string());
    match user_data::classify(&bytes) {
        user_data::UserData::Script(_) => None,
        _ => Some(Layer::parse_bytes(source, &bytes)),
    }
}

/// What was set aside, so that it is not forgotten why. It counts for nothing else.
pub(crate) fn load_rejected() -> Option<Layer> {
    let mut layer = load_file(&Path::new(CONF).join("rejected/user-data"))?;
    if layer.problems.is_empty() {
        let message = "the first line must be #cloud-config or begin with #!".to_owned();
        let at = Position { line: 1, column: 1 };
        layer.problems.push(Problem::new(Severity::Error, &layer.source.to_string(), at, "", message));
    }
    Some(layer)
}

/// The provider's host name counts where nobody gave one; its keys are added to the owner's.
fn load_metadata(layers: &[Layer]) -> Option<Layer> {
    let mut layer = load_file(&Path::new(CONF).join("metadata"))?;
    layer.source = Source::Metadata;
    let config = corral_config::resolve(layers);
    let map = layer.value.as_object_mut()?;
    if config.hostname.is_some() {
        map.remove("hostname");
    }
    let mut keys = config.ssh_authorized_keys;
    for key in map.get("ssh_authorized_keys").and_then(|keys| keys.as_array()).into_iter().flatten() {
        let key = key.as_str().unwrap_or_default().to_owned();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    map.insert("ssh_authorized_keys".to_owned(), keys.into());
    Some(layer)
}

/// The services of the system image, then the owner's. A file that is wrong costs only itself.
fn plan(config: &Config, problems: &mut Vec<Problem>) -> Plan {
    let mut services: Vec<Service> = Vec::new();
    for name in load_service_names() {
        let path = Path::new(SYSTEM).join("services").join(&name).join("compose.yml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        add(&mut services, compose::parse(&path.display().to_string(), &text), problems);
    }
    for (name, value) in &config.rancher.services {
        let one = serde_json::Map::from_iter([(name.clone(), value.clone())]);
        let text = corral_config::yaml::to_string(&serde_json::Value::Object(one)).unwrap_or_default();
        add(&mut services, compose::parse(&format!("rancher.services.{name}"), &text), problems);
    }
    for service in services.iter().filter(|service| !service.labels.system) {
        let message = "services of the user's Docker have no effect in this version; with the label \
                       io.rancher.os.scope: system it would be one of the system's";
        let source = format!("rancher.services.{}", service.name);
        problems.push(Problem::new(Severity::Warning, &source, Position::default(), "", message.to_owned()));
    }
    services.retain(|service| service.labels.system);
    if !has_config_drive() {
        services.retain(|service| service.name.as_str() != "cloud-init");
    }
    match Plan::new(services.clone()) {
        Ok(plan) => plan,
        Err(cycle) => {
            problems.push(problem("rancher.services", &cycle.to_string()));
            // Without its labels nobody waits for anybody: better than no console.
            for service in &mut services {
                service.labels.after.retain(|other| !cycle.names.contains(other));
                service.labels.before.retain(|other| !cycle.names.contains(other));
            }
            Plan::new(services).unwrap_or_default()
        }
    }
}

/// Cloud-init has nothing to do on a machine without a drive.
fn has_config_drive() -> bool {
    block::load_volumes().iter().any(|volume| DRIVES.contains(&volume.system.label.as_str()))
}

fn load_service_names() -> Vec<String> {
    #[derive(Deserialize)]
    struct Os {
        services: Vec<String>,
    }
    let text = fs::read_to_string(Path::new(SYSTEM).join("os.yml")).unwrap_or_default();
    corral_config::yaml::from_str::<Os>(&text).map(|os| os.services).unwrap_or_default()
}

fn add(
    services: &mut Vec<Service>,
    file: Result<compose::ServiceFile, compose::ComposeError>,
    problems: &mut Vec<Problem>,
) {
    match file {
        Ok(file) => {
            for service in file.services {
                services.retain(|other| other.name != service.name);
                services.push(service);
            }
            problems.extend(file.warnings.iter().map(|warning| from_compose(warning, Severity::Warning)));
        }
        Err(error) => problems.push(from_compose(&error, Severity::Error)),
    }
}

fn from_compose(error: &compose::ComposeError, severity: Severity) -> Problem {
    let at = Position { line: error.line, column: error.column };
    Problem::new(severity, &error.file, at, "", error.message.clone())
}

fn problem(source: &str, message: &str) -> Problem {
    Problem::new(Severity::Error, source, Position::default(), "", message.to_owned())
}
