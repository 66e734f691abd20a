//! The layers of the configuration, in the order in which later ones win (the table in
//! docs/configuration.md), and the last good copy of each file.

use super::way_in;
use corral_config::Position;
use corral_config::error::{Problem, Severity};
use corral_config::metadata::Metadata;
use corral_config::{Layer, Source};
use corral_init::boot::oem;
use corral_init::boot::state::{self, CONF};
use corral_machine::boot_partition::booted;
use corral_machine::files::{read_at_most, write_atomic};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// How the provider says that the machine is connected. Below everything that the owner says.
const NETWORK_FILE: &str = "network.yml";

/// Below the configuration: the last good copy of each file, by its name.
pub(super) const LAST_GOOD: &str = "last-good";

/// A document has a mebibyte; what is larger is read this far, for the message that says so.
const LARGEST: u64 = 16 << 20;

/// Every source that is there.
pub(crate) fn load() -> Vec<Layer> {
    let conf = Path::new(CONF);
    let metadata = load_metadata();
    let mut files = vec![PathBuf::from(oem::CONFIG)];
    files.extend(cloud_config_files(conf));
    files.push(conf.join("cloud-config.yml"));
    let of_files: Vec<Layer> = files.iter().filter_map(|path| load_or_last_good(path, &metadata)).collect();
    let mut layers = vec![corral_config::defaults()];
    if of_files.iter().any(Layer::is_unreadable) {
        // A file is lost, and so is its last good copy: who may log in is known from the last configuration without errors.
        layers.extend(way_in::load());
    }
    layers.extend(of_files);
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
    let keys = booted::partition()?.load_keys();
    let source = Source::File("the ssh keys on the boot partition".to_owned());
    (!keys.is_empty()).then(|| Layer::from_value(source, &json!({ "ssh_authorized_keys": keys })))
}

/// `cloud-config.d/*` by name; the provider's network first.
pub(super) fn cloud_config_files(conf: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(conf.join("cloud-config.d")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = items.map(|item| item.path()).filter(|path| is_layer_file(path)).collect();
    files.sort_by_key(|path| (!path.ends_with(NETWORK_FILE), path.clone()));
    files
}

/// A folder is no file of the owner's, unless there was a file in its place.
fn is_layer_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && (!path.is_dir() || last_good(path).is_some_and(|spare| spare.exists()))
}

fn load_metadata() -> Metadata {
    let text = fs::read_to_string(Path::new(CONF).join("metadata")).unwrap_or_default();
    // The file is ours; what broke it is told by `ros config validate`, and the machine goes on without it.
    Metadata::parse(&text).unwrap_or_default()
}

/// A file as it is, or, if there are errors in it, as it last was without any.
fn load_or_last_good(path: &Path, metadata: &Metadata) -> Option<Layer> {
    let spare = last_good(path)?;
    let good = read_at_most(&spare, LARGEST).ok().filter(|bytes| !bytes.is_empty());
    let layer = match read_at_most(path, LARGEST) {
        Ok(bytes) if bytes.is_empty() && good.is_some() => lost(path, EMPTY),
        Ok(bytes) => {
            let layer = parse(path, &bytes, metadata);
            if !layer.has_errors() {
                if good.as_ref() != Some(&bytes) {
                    // Without room for it there is no last good one; nothing else depends on it.
                    let _ = write_atomic(&spare, &bytes, 0o600);
                }
                return Some(layer);
            }
            layer
        }
        Err(error) if is_not_there(&error) && fs::symlink_metadata(path).is_err() => return None,
        Err(error) => lost(path, &format!("{error:#}")),
    };
    let Some(good) = good.map(|good| parse(path, &good, metadata)).filter(|good| !good.has_errors()) else {
        return Some(layer);
    };
    let mut problems = layer.problems;
    let message = format!("because of that, {} counts: the last one without errors", spare.display());
    let at = Position::default();
    problems.push(Problem::new(Severity::Warning, &path.display().to_string(), at, "", message));
    Some(Layer { problems, ..good })
}

/// Of a file that has lost its content: an owner who wants none removes it.
const EMPTY: &str =
    "the file is empty, as a power cut may leave it; remove it if nothing is to take effect in its place";

/// A file that is there and cannot be read.
fn lost(path: &Path, reason: &str) -> Layer {
    let source = Source::File(path.display().to_string());
    let at = Position::default();
    let problem = Problem::new(Severity::Error, &source.to_string(), at, "", reason.to_owned());
    Layer { problems: vec![problem], ..Layer::empty(source) }
}

fn is_not_there(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
}

fn parse(path: &Path, bytes: &[u8], metadata: &Metadata) -> Layer {
    let source = Source::File(path.display().to_string());
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains('$') => Layer::parse(source, &metadata.substitute(text)),
        _ => Layer::parse_bytes(source, bytes),
    }
}

/// Where the last good one of a file is kept; None for files that are not the owner's.
pub(crate) fn last_good(path: &Path) -> Option<PathBuf> {
    Some(Path::new(CONF).join(LAST_GOOD).join(path.file_name()?))
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
