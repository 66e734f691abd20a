//! The layers of the configuration, in the order in which later ones win (R§7.6), and the last good of each file.

use super::{CONF, SYSTEM, way_in};
use crate::boot::state;
use crate::release::boot_set;
use corral_config::error::{Problem, Severity};
use corral_config::layer::{Layer, Source};
use corral_config::metadata::Metadata;
use corral_config::yaml::Position;
use corral_machine::files::{read_at_most, write_atomic};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// How the provider says that the machine is connected. Below everything that the owner says.
const NETWORK_FILE: &str = "network.yml";

/// A document has a mebibyte; what is larger is read this far, for the message that says so.
const LARGEST: u64 = 16 << 20;

/// Every source that is there.
pub(crate) fn load() -> Vec<Layer> {
    let conf = Path::new(CONF);
    let metadata = load_metadata();
    let mut layers = vec![corral_config::defaults()];
    let mut files = vec![Path::new(SYSTEM).join("oem/oem-config.yml")];
    files.extend(cloud_config_files(conf));
    files.push(conf.join("cloud-config.yml"));
    layers.extend(files.iter().filter_map(|path| load_or_last_good(path, &metadata)));
    layers.extend(rescue_keys());
    layers.extend(corral_machine::cmdline::load().map(|text| Layer::from_command_line(&text)));
    if !metadata.is_empty() {
        let config = corral_config::resolve(&layers);
        let value = metadata.to_layer(config.hostname.is_some(), &config.ssh_authorized_keys);
        layers.push(Layer::from_value(Source::Metadata, &value));
    }
    layers
}

/// What there is without the owner's files; the way in is what it was.
pub(super) fn built_in(with_sources: bool) -> Vec<Layer> {
    let mut layers = vec![corral_config::defaults()];
    if !with_sources {
        let none = json!({"rancher": {"cloud_init": {"datasources": []}}});
        layers.push(Layer::from_value(Source::Defaults, &none));
    }
    layers.extend(way_in::load());
    layers.extend(rescue_keys());
    layers.extend(corral_machine::cmdline::load().map(|text| Layer::from_command_line(&text)));
    layers
}

/// Without the state disk, and with it the owner's configuration, the owner's keys still open the machine.
fn rescue_keys() -> Option<Layer> {
    if !Path::new(state::PROBLEM).exists() {
        return None;
    }
    let keys = boot_set::reading()?.load_keys();
    let source = Source::File("the ssh keys on the boot partition".to_owned());
    (!keys.is_empty()).then(|| Layer::from_value(source, &json!({ "ssh_authorized_keys": keys })))
}

/// `cloud-config.d/*` by name; the provider's network first.
fn cloud_config_files(conf: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(conf.join("cloud-config.d")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = items.map(|item| item.path()).filter(|path| is_layer_file(path)).collect();
    files.sort_by_key(|path| (!path.ends_with(NETWORK_FILE), path.clone()));
    files
}

fn is_layer_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && path.is_file()
}

fn load_metadata() -> Metadata {
    let text = fs::read_to_string(Path::new(CONF).join("metadata")).unwrap_or_default();
    // The file is ours; what broke it is told by `ros config validate`, and the machine goes on without it.
    Metadata::parse(&text).unwrap_or_default()
}

/// A file as it is, or, if there are errors in it, as it last was without any.
fn load_or_last_good(path: &Path, metadata: &Metadata) -> Option<Layer> {
    let bytes = read_at_most(path, LARGEST).ok()?;
    let layer = parse(path, &bytes, metadata);
    let spare = last_good(path)?;
    if !layer.has_errors() {
        if fs::read(&spare).ok().as_deref() != Some(bytes.as_slice()) {
            // Without room for it there is no last good one; nothing else depends on it.
            let _ = write_atomic(&spare, &bytes, 0o600);
        }
        return Some(layer);
    }
    let Ok(good) = fs::read(&spare) else { return Some(layer) };
    let good = parse(path, &good, metadata);
    if good.has_errors() {
        return Some(layer);
    }
    let mut problems = layer.problems;
    let message = format!("because of that, {} counts: the last one without errors", spare.display());
    let at = Position::default();
    problems.push(Problem::new(Severity::Warning, &path.display().to_string(), at, "", message));
    Some(Layer { problems, ..good })
}

fn parse(path: &Path, bytes: &[u8], metadata: &Metadata) -> Layer {
    let source = Source::File(path.display().to_string());
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains('$') => Layer::parse(source, &metadata.substitute(text)),
        _ => Layer::parse_bytes(source, bytes),
    }
}

/// Where the last good one of a file is kept; None for files that are not the owner's.
fn last_good(path: &Path) -> Option<PathBuf> {
    Some(Path::new(CONF).join("last-good").join(path.file_name()?))
}

/// What was set aside, so that it is not forgotten why. It counts for nothing else.
pub(crate) fn load_rejected() -> Option<Layer> {
    let path = Path::new(CONF).join("rejected/user-data");
    let bytes = fs::read(&path).ok()?;
    let mut layer = Layer::parse_bytes(Source::File(path.display().to_string()), &bytes);
    if layer.problems.is_empty() {
        let message = "the first line must be #cloud-config, #compose, #include or begin with #!".to_owned();
        let at = Position { line: 1, column: 1 };
        layer.problems.push(Problem::new(Severity::Error, &layer.source.to_string(), at, "", message));
    }
    Some(layer)
}
