//! The layers of the configuration, in the order in which later ones win (the table in
//! docs/configuration.md), and the last good copy of each file.

use super::file_change::FileChange;
use super::root::Root;
use super::way_in;
use corral_config::error::{Problem, Severity};
use corral_config::metadata::Metadata;
use corral_config::{Config, Position};
use corral_config::{Layer, Source};
use corral_init::boot::oem;
use corral_init::boot::state::{self, CONF};
use corral_machine::boot_partition::booted;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The network configuration of the provider. The owner's settings override it.
const NETWORK_FILE: &str = "network.yml";

/// The provider's own configuration, below the owner's files.
pub const VENDOR_DATA: &str = "vendor-data.yml";

/// Below the configuration: the last good copy of each file, by its name.
pub(super) const LAST_GOOD: &str = "last-good";

/// Documents have a limit of one MiB. A larger file is read up to here, for the message that
/// reports it.
const LARGEST: u64 = 16 << 20;

/// The content of all sources.
#[derive(Debug)]
pub struct Sources {
    /// Later ones win.
    pub layers: Vec<Layer>,
    /// Copies of files without errors, if the stored copy differs or is missing.
    pub(super) last_good: Vec<FileChange>,
}

/// A file of the configuration, and the last good copy of it, as they were read.
#[derive(Debug)]
struct Document<'a> {
    path: &'a Path,
    /// Its bytes, or why they cannot be read.
    now: Result<Vec<u8>, String>,
    copy_path: PathBuf,
    copy: Option<Vec<u8>>,
}

/// The file that commands change.
pub(super) fn stored_file() -> PathBuf {
    Path::new(CONF).join("cloud-config.yml")
}

/// Every source that is there.
pub fn load(root: &Root) -> Sources {
    let metadata = load_metadata(root);
    let mut files = vec![PathBuf::from(oem::CONFIG)];
    files.extend(cloud_config_files(root));
    files.push(stored_file());
    let documents = files.iter().filter_map(|path| Document::load(root, path));
    let (of_files, copies): (Vec<Layer>, Vec<Option<FileChange>>) =
        documents.map(|document| document.decide(&metadata)).unzip();
    let mut layers = vec![corral_config::defaults()];
    if of_files.iter().any(Layer::is_unreadable) {
        // A file is lost, and so is its last good copy. The last configuration without errors has
        // the logins.
        layers.extend(way_in::load(root));
    }
    let mut of_owner = of_files;
    of_owner.extend(rescue_keys(root));
    of_owner.extend(command_line(root));
    layers.extend(vendor_data(root, &of_owner));
    layers.extend(of_owner);
    add_metadata(&metadata, &mut layers);
    Sources { layers, last_good: copies.into_iter().flatten().collect() }
}

/// The provider's name and keys, after those of the owner.
fn add_metadata(metadata: &Metadata, layers: &mut Vec<Layer>) {
    if !metadata.is_empty() {
        let config = corral_config::resolve(layers);
        let value = metadata.to_layer(has_name(&config), &config.ssh_authorized_keys);
        layers.push(Layer::from_value(Source::Metadata, &value));
    }
}

fn has_name(config: &Config) -> bool {
    config.hostname.is_some() || config.fqdn.is_some()
}

/// The layers without the owner's files. Logins and addresses are the last ones, and the keys are
/// also those of the provider: at a first boot there are no others.
pub(super) fn built_in(root: &Root, with_sources: bool) -> Vec<Layer> {
    let mut layers = vec![corral_config::defaults()];
    if !with_sources {
        let none = json!({"rancher": {"cloud_init": {"datasources": []}}});
        layers.push(Layer::from_value(Source::Defaults, &none));
    }
    layers.extend(way_in::load(root));
    layers.extend(rescue_keys(root));
    layers.extend(command_line(root));
    add_metadata(&load_metadata(root), &mut layers);
    layers
}

/// What the provider adds, unless the owner wants none of it.
fn vendor_data(root: &Root, of_owner: &[Layer]) -> Option<Layer> {
    let path = Path::new(CONF).join(VENDOR_DATA);
    let bytes = root.read_at_most(&path, LARGEST).ok()?;
    let said = corral_config::merged(of_owner);
    if said.pointer("/vendor_data/enabled") == Some(&Value::Bool(false)) {
        return None;
    }
    Some(Layer::parse_bytes(Source::Vendor(path.display().to_string()), &bytes))
}

fn command_line(root: &Root) -> Option<Layer> {
    let bytes = root.read("/proc/cmdline").ok()?;
    Some(Layer::from_command_line(std::str::from_utf8(&bytes).ok()?))
}

/// If the state disk with the owner's configuration is missing, the owner's keys still allow a
/// login.
fn rescue_keys(root: &Root) -> Option<Layer> {
    if !root.exists(state::PROBLEM_FILE) {
        return None;
    }
    let keys = booted::partition()?.load_keys();
    let source = Source::File("the ssh keys on the boot partition".to_owned());
    (!keys.is_empty()).then(|| Layer::from_value(source, &json!({ "ssh_authorized_keys": keys })))
}

/// `cloud-config.d/*` by name; the provider's network first.
pub(super) fn cloud_config_files(root: &Root) -> Vec<PathBuf> {
    let mut files = root.list(Path::new(CONF).join("cloud-config.d"));
    files.retain(|path| is_layer_file(root, path));
    files.sort_by_key(|path| (!path.ends_with(NETWORK_FILE), path.clone()));
    files
}

/// A folder is no configuration file, unless it replaced one.
fn is_layer_file(root: &Root, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let was_a_file = || last_good(path).is_some_and(|copy| root.exists(copy));
    !name.starts_with('.') && (!root.is_dir(path) || was_a_file())
}

fn load_metadata(root: &Root) -> Metadata {
    let text = root.text(Path::new(CONF).join("metadata"));
    // We wrote the file. `ros config validate` reports its errors, and the machine continues
    // without it.
    Metadata::parse(&text).unwrap_or_default()
}

impl<'a> Document<'a> {
    /// None if there is no such file.
    fn load(root: &Root, path: &'a Path) -> Option<Document<'a>> {
        let copy_path = last_good(path)?;
        let copy = root.read_at_most(&copy_path, LARGEST).ok().filter(|bytes| !bytes.is_empty());
        let now = match root.read_at_most(path, LARGEST) {
            Err(error) if is_not_there(&error) && root.metadata_error(path).is_some() => {
                return None;
            }
            read => read.map_err(|error| format!("{error:#}")),
        };
        Some(Document { path, now, copy_path, copy })
    }

    /// The file as it is, or its last version without errors. Also the copy to store of it.
    fn decide(self, metadata: &Metadata) -> (Layer, Option<FileChange>) {
        let Document { path, now, copy_path, copy } = self;
        let layer = match now {
            Ok(bytes) if bytes.is_empty() && copy.is_some() => lost(path, EMPTY),
            Ok(bytes) => {
                let layer = parse(path, &bytes, metadata);
                if !layer.has_errors() {
                    let is_kept = copy.as_ref() == Some(&bytes);
                    return (layer, (!is_kept).then(|| FileChange::write(copy_path, bytes, 0o600)));
                }
                layer
            }
            Err(reason) => lost(path, &reason),
        };
        let good = copy.map(|copy| parse(path, &copy, metadata)).filter(|good| !good.has_errors());
        let Some(good) = good else { return (layer, None) };
        let mut problems = layer.problems;
        let message =
            format!("{} takes effect instead: the last one without errors", copy_path.display());
        let at = Position::default();
        problems.push(Problem::new(
            Severity::Warning,
            &path.display().to_string(),
            at,
            "",
            message,
        ));
        (Layer { problems, ..good }, None)
    }
}

/// A file that has lost its content: an owner who wants none removes it.
const EMPTY: &str = "the file is empty, as a power cut may leave it; remove it if nothing is to \
    take effect in its place";

/// A file that exists but cannot be read.
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

/// Path of the last good copy of a file. None if the path has no file name.
pub(crate) fn last_good(path: &Path) -> Option<PathBuf> {
    Some(Path::new(CONF).join(LAST_GOOD).join(path.file_name()?))
}

/// Rejected user data, so that its errors stay visible. It has no other effect.
pub fn load_rejected(root: &Root) -> Option<Layer> {
    let path = Path::new(CONF).join("rejected/user-data");
    let bytes = root.read(&path).ok()?;
    let mut layer = Layer::parse_bytes(Source::File(path.display().to_string()), &bytes);
    if layer.problems.is_empty() {
        let message =
            "the first line must be #cloud-config, #compose, #include or begin with #!".to_owned();
        let at = Position { line: 1, column: 1 };
        layer.problems.push(Problem::new(
            Severity::Error,
            &layer.source.to_string(),
            at,
            "",
            message,
        ));
    }
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(now: Result<&str, &str>, copy: Option<&str>) -> Document<'static> {
        let path = Path::new("/var/lib/rancher/conf/cloud-config.d/boot.yml");
        Document {
            path,
            now: now.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned),
            copy_path: last_good(path).unwrap(),
            copy: copy.map(|text| text.as_bytes().to_vec()),
        }
    }

    #[test]
    fn a_file_without_errors_is_copied_and_one_with_errors_is_replaced_by_its_copy() {
        const COPY: &str = "/var/lib/rancher/conf/last-good/boot.yml";
        let copied = |text: &str| Some(FileChange::write(COPY, text, 0o600));
        let (good, other, wrong) = ("hostname: a\n", "hostname: b\n", "hostname: [a]\n");
        // the file, its copy, the resulting host name, the new copy, the first problem
        let cases = [
            (Ok(good), None, Some("a"), copied(good), ""),
            (Ok(good), Some(good), Some("a"), None, ""),
            (Ok(good), Some(other), Some("a"), copied(good), ""),
            (Ok(wrong), Some(other), Some("b"), None, "hostname"),
            (Ok(wrong), None, None, None, "hostname"),
            (Ok(""), Some(other), Some("b"), None, "the file is empty"),
            (Err("it is a pipe"), Some(other), Some("b"), None, "it is a pipe"),
            (Err("it is a pipe"), None, None, None, "it is a pipe"),
        ];
        for (now, copy, hostname, kept, problem) in cases {
            let case = format!("{now:?}, {copy:?}");
            let (layer, change) = document(now, copy).decide(&Metadata::default());
            assert_eq!(
                layer.value.get("hostname").and_then(|value| value.as_str()),
                hostname,
                "{case}"
            );
            assert_eq!(change, kept, "{case}");
            let first = layer.problems.first().map(ToString::to_string).unwrap_or_default();
            assert!(
                first.contains(problem) && first.is_empty() == problem.is_empty(),
                "{case}: {first}"
            );
        }
    }
}
